"""llama.cpp on a CPU, as npm's node-llama-cpp carries it: all requests side by side in one context."""

import json
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.engine.cpu_peers import Contender, timed
from benchmarks.engine.workloads import Request

FOLDER = Path("build/llama")
INSTALL = f"npm install --prefix {FOLDER} --save-exact node-llama-cpp@3.21.1"
ENTRY = FOLDER / "node_modules/node-llama-cpp/dist/index.js"
_SCRIPT = Path(__file__).with_name("llama.mjs")
_CONTEXT = 512
"""Tokens of a sequence; at least as many as prompt and answer have together."""


def missing() -> str | None:
    """What to do before it can be compared; None where it can."""
    if shutil.which("node") is None:
        return "node is not installed"
    return None if ENTRY.exists() else f"node-llama-cpp is not installed: {INSTALL}"


def llama_run(model: Path, threads: int, earlier: Sequence[Request], runs: Iterable[Sequence[Request]]) -> Contender:
    """One context that has answered `earlier` requests, given others in each of its runs, as many at once as those.

    A run raises `RuntimeError` where a request did not get all of its tokens.
    """
    generating = _Llama(model, threads, len(earlier))
    generating.generate(earlier)
    upcoming = iter(runs)
    return lambda: timed(lambda: generating.generate(next(upcoming)))


class _Llama:
    """A child process, which ends with its standard input."""

    def __init__(self, model: Path, threads: int, sequences: int) -> None:
        sizes = map(str, (threads, sequences, _CONTEXT))
        self._process = subprocess.Popen(  # noqa: S603 (a script of this folder)
            [shutil.which("node") or "node", str(_SCRIPT), str(ENTRY.absolute()), str(model), *sizes],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._line()

    def generate(self, requests: Sequence[Request]) -> None:
        if self._process.stdin is None:
            raise RuntimeError("llama.cpp was started without a pipe to it")
        self._process.stdin.write(json.dumps([asdict(request) for request in requests]) + "\n")
        self._process.stdin.flush()
        generated = json.loads(self._line())
        if generated != [request.new_tokens for request in requests]:
            raise RuntimeError(f"llama.cpp generated {sum(generated)} tokens, not all that were asked for")

    def _line(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError("llama.cpp has ended; what it wrote is above")
        return line
