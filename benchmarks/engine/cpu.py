"""The engine by itself on a CPU, beside its peers and beside its own bound.

    python -m benchmarks.engine --workload mixed|prefix|growth [--runs N] [--threads N]
                               [--contenders NAME ...] [--neighbours N]

mixed   48 requests of 20-240 prompt and 8-128 generated tokens: Pelton's engine (after 144 others of the same sizes, so
        that the system has given it the memory of its pages), the same with int8 weights, and with int8 keys and
        values, the bound (the engine's own steps as forward passes of transformers' body with attention left out, with
        its layers as they come and as the engine has them), transformers' `generate` in padded batches of 16,
        transformers' continuous batching, and where they are installed OpenVINO GenAI's continuous batching and
        llama.cpp, both from the same GGUF file:
            pip install openvino-genai
            npm install --prefix build/llama --save-exact node-llama-cpp@3.21.1
        With --neighbours each run is made twice: on a quiet machine, and beside so many loops of arithmetic.
prefix  one filing of 1,000 tokens and 64 questions about it, answers of 32 tokens: with the prefix cache and without.
growth  the mixed workload once and ten times over, each by an engine that has filled its pages: time per request and
        memory must stay what they were.

The contenders of the mixed workload have a process each and run in turns of a second (`support/interleaved.py`), so
that a slow minute of a machine that others use too slows all of them; each has done one run before, so that what is
compiled once is not counted. The others run one after the other in one process. All `--runs` times; medians are
compared. Prints a table and the same as JSON.
"""

import argparse
from collections.abc import Mapping

import psutil
import torch

from benchmarks.engine.cpu_mixed import CONTENDERS, run_mixed
from benchmarks.engine.cpu_peers import MODELS, Contender, Seconds, engine_run, report, warm_engine_run
from benchmarks.engine.workloads import ANSWER_TOKENS, QUESTIONS, joined, mixed_sets, questions
from pelton.workers.engine.model.loading import load
from pelton.workers.engine.model.spec import ModelSpec


def compare(contenders: Mapping[str, Contender], runs: int) -> dict[str, list[Seconds]]:
    """Seconds of each, taken in turn so that a slow minute of the machine hits all."""
    measured: dict[str, list[Seconds]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, contender in contenders.items():
            measured[name].append(contender())
    return measured


def run_prefix(spec: ModelSpec, runs: int) -> None:
    loaded = load(spec, MODELS)
    requests = questions(loaded.model.config.vocab_size)
    contenders = {
        "engine": engine_run(loaded, requests),
        "prefix cache off": engine_run(loaded, requests, prefix_cache=False),
    }
    tokens = QUESTIONS * ANSWER_TOKENS
    report("64 questions, one filing", dict.fromkeys(contenders, tokens), compare(contenders, runs))


def run_growth(spec: ModelSpec, runs: int) -> None:
    loaded = load(spec, MODELS)
    sets = mixed_sets(loaded.model.config.vocab_size, 3 + 11 * (runs + 1))
    earlier, once, more = joined(sets[:3]), sets[3 : 4 + runs], sets[4 + runs :]
    tenfold = [joined(more[first : first + 10]) for first in range(0, len(more), 10)]
    contenders = {
        "engine": warm_engine_run(loaded, earlier, once),
        "ten times as many": warm_engine_run(loaded, earlier, tenfold),
    }
    compare(contenders, 1)  # the tenfold has more running at once, and so larger steps: their memory is not growth
    process = psutil.Process()
    before = process.memory_info().rss
    seconds = compare(contenders, runs)
    grown = process.memory_info().rss - before
    tokens = sum(request.new_tokens for request in once[0])
    generated = {"engine": tokens, "ten times as many": 10 * tokens}
    report("growth", generated, seconds, memory_mib=before / 2**20, memory_grown_mib=grown / 2**20)


WORKLOADS = {"prefix": run_prefix, "growth": run_growth}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=("mixed", *WORKLOADS), default="mixed")
    parser.add_argument("--contenders", nargs="*", choices=CONTENDERS, help="of mixed, beside the engine; default: all")
    parser.add_argument("--neighbours", type=int, default=0, help="of mixed: loops of arithmetic beside each run")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--device", choices=("cpu",), default="cpu", help="cuda: benchmarks/engine/gpu.py")
    parser.add_argument("--dtype", choices=("auto", "bfloat16", "float32", "float16"), default="auto")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of PyTorch; default: one for each core")
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    spec = ModelSpec(asked.model, dtype=asked.dtype, device=asked.device)
    if asked.workload == "mixed":
        run_mixed(spec, asked.runs, asked.contenders, asked.neighbours)
    else:
        WORKLOADS[asked.workload](spec, asked.runs)


if __name__ == "__main__":
    main()
