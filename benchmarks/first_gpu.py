"""The steps of `benchmarks/first_gpu.sh`, each in a process of its own and within its time; only the standard library.

A step that prints `RESULT {...}` has its figures taken into first_gpu.json and the table, also where it is stopped
after that. All limits together are no more than the time there is, so that every step has its turn; what one leaves
over is added to the next one's.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

NEEDED = ("torch", "transformers", "triton", "llguidance", "numpy")
FOR_TESTS = ("pytest", "hypothesis")
SECONDS = 530
"""For all steps together."""

_TESTS = "tests/unit/workers/engine/cuda"
_MARK = "RESULT "

# What tells a problem, at the beginning of a line: pytest's summary, and the last line of a traceback.
_TROUBLE = re.compile(r"(FAILED|ERROR) |\w+(\.\w+)*(Error|Exception|Interrupt)\b")
_PROBLEMS = 8


@dataclass(frozen=True, slots=True)
class Step:
    """What is run as `python -m ...`; so many seconds are kept for it."""

    name: str
    limit_s: int
    command: Sequence[str]


@dataclass(slots=True)
class Done:
    name: str
    outcome: str
    seconds: float
    last_line: str = ""
    figures: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def steps(dry: bool) -> list[Step]:
    """In the order of what is to be known first."""
    pytest = ("pytest", "-c", "tests/gpu.ini", "--rootdir", ".", "-q", "-p", "no:cacheprovider", "--durations=5")
    # On a CPU the same tests run interpreted, and those of a card are skipped.
    marked = pytest if dry else (*pytest, "-m", "gpu")
    engine_tests = (*marked, f"{_TESTS}/test_engine.py", "-k")
    cases = ("benchmarks.engine.gpu_cases", *(("--dry",) if dry else ()))
    kernel_tests = f"{_TESTS}/kernels/test_argmax.py" if dry else f"{_TESTS}/kernels"
    return [
        Step("kernel tests", 60, (*marked, kernel_tests)),
        Step("tokens, no graphs", 40, (*engine_tests, "every_family or sampled or no_batch")),
        Step("tokens, graphs", 50, (*engine_tests, "captured and (llama or gemma2 or quantised)")),
        Step("A", 90, (*cases, "--workload", "A", "twice", "profile")),
        Step("A, more", 65, (*cases, "--workload", "A", "requests-1024", "top-p", "long-prompt", "temperature")),
        Step("A8", 55, (*cases, "--workload", "A8", "once")),
        Step("fp8 tests", 20, (*marked, f"{_TESTS}/test_fp8.py")),
        Step("A8, fp8", 45, (*cases, "--workload", "A8", "--weights", "fp8", "once")),
        Step("holes", 20, ("benchmarks.engine.gpu_holes", *(("--dry",) if dry else ()))),
        Step("soak", 20, ("benchmarks.engine.gpu_soak", "--seconds", "15", *(("--dry",) if dry else ()))),
        Step("tokens, dependent", 15, (*engine_tests, "dependent")),
        Step("A, dependent", 35, (*cases, "--workload", "A", "--dependent", "once")),
        *(() if dry else (Step("kernels", 15, ("benchmarks.kernels.gpu",)),)),
    ]


def versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in (*NEEDED, *FOR_TESTS):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "MISSING"
    return found


def card() -> str:
    """What the driver says of itself."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit", "--format=csv"]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=30, check=False).stdout.strip()  # noqa: S603 (a fixed command)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no nvidia-smi ({error})"


def run(step: Step, limit_s: float, log: Path) -> Done:
    """Run a step; its output goes to the log and, in short, to the screen."""
    started = time.monotonic()
    # The tests need no plugin, and those that are there have opinions on warnings.
    environment = {
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **os.environ,
    }  # fmt: skip
    process = subprocess.Popen(  # noqa: S603 (our own modules)
        [sys.executable, "-m", *step.command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=environment, errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=limit_s)
        outcome = "ok" if process.returncode == 0 else f"failed ({process.returncode})"
    except subprocess.TimeoutExpired:
        # Its own children too, which hold the card and the pipe.
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        outcome = f"stopped after {limit_s:.0f} s"
    lines = [line for line in output.splitlines() if line.strip()]
    figures = [json.loads(line.removeprefix(_MARK)) for line in lines if line.startswith(_MARK)]
    plain = [line for line in lines if not line.startswith(_MARK)]
    problems = [line[:300] for line in plain if _TROUBLE.match(line)][:_PROBLEMS] if outcome != "ok" else []
    with log.open("a") as file:
        file.write(f"\n===== {step.name}: {outcome}\n{output}\n")
    last = plain[-1][:160] if plain else ""
    return Done(step.name, outcome, time.monotonic() - started, last, figures, problems)


def table(done: Sequence[Done]) -> str:
    rows = []
    for each in done:
        rows.append(f"{each.name:<22}{each.outcome:<22}{each.seconds:>7.1f} s  {each.last_line}")
        for figures in each.figures:
            told = "  ".join(
                f"{name} {_short(value)}" for name, value in figures.items() if not isinstance(value, list)
            )
            rows.append(f"    {told}")
        rows += [f"    ! {problem}" for problem in each.problems]
    return "\n".join(rows)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry", action="store_true", help="on a CPU, with tiny sizes")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all steps together")
    parser.add_argument("--only", nargs="*", help="names of steps")
    asked = parser.parse_args()
    out = Path(os.environ.get("OUT", "build/first_gpu"))
    out.mkdir(parents=True, exist_ok=True)
    log = out / "log.txt"
    log.write_text("")
    about = {"card": card(), "versions": versions()}
    missing = [name for name, version in about["versions"].items() if version == "MISSING"]  # type: ignore[attr-defined]
    print(json.dumps(about, indent=1), flush=True)
    if missing:
        print(f"Missing: {', '.join(missing)}; the head of benchmarks/first_gpu.sh says how to bring them.", flush=True)
    until = time.monotonic() + asked.seconds
    done: list[Done] = []
    chosen = [step for step in steps(asked.dry) if not asked.only or step.name in asked.only]
    for index, step in enumerate(chosen):
        later = sum(each.limit_s for each in chosen[index + 1 :])
        done.append(run(step, max(1.0, until - time.monotonic() - later), log))
        print(table(done[-1:]), flush=True)
        (out / "first_gpu.json").write_text(json.dumps({**about, "steps": [asdict(each) for each in done]}, indent=1))
        (out / "table.txt").write_text(f"{about['card']}\n{about['versions']}\n{table(done)}\n")
    sys.exit(any(each.outcome != "ok" for each in done))


if __name__ == "__main__":
    main()
