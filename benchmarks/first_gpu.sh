#!/usr/bin/env bash
# All there is to learn of the engine on a card in nine minutes, on a machine that may have little more than PyTorch.
#
#   bash benchmarks/first_gpu.sh [--dry] [--seconds 530] [--only STEP ...]
#
# Every step has a process and a time limit of its own; one that fails costs nobody else. Results are in $OUT (default:
# build/first_gpu), written anew after each step: table.txt, first_gpu.json, log.txt. `--dry` goes through the same steps
# on a CPU with tiny sizes, in two minutes.
#
# Needed: torch, transformers, triton, llguidance; for the tests pytest and hypothesis. What is missing is printed first.
# Wheels in the folder .whl are installed into a temporary folder before anything else, so that a machine without a
# network can be given them:
#   python3 -m pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
#       --platform manylinux2014_x86_64 -d .whl llguidance hypothesis sortedcontainers pytest pluggy iniconfig
set -u
cd "$(dirname "$0")/.." || exit 1
export OUT="${OUT:-build/first_gpu}" PYTHONUNBUFFERED=1 PYTHON="${PYTHON:-python3}"
mkdir -p "$OUT"
if compgen -G '.whl/*.whl' >/dev/null; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --target "$site" .whl/*.whl \
        && export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
"$PYTHON" -m benchmarks.first_gpu "$@"
