"""The benchmarks one after the other, in sizes that end within minutes, and one report of all of them.

    python -m benchmarks.suite [--out DIR] [NAME...]

Each runs as the command that its part of the report names, in a process of its own. Writes `bench.json` (what each
printed as JSON) and `bench.html` (its table and plots) to `--out`. One that fails, or finds that what it looks for does
not hold, is named in both, and the others go on; exits with 1 then.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from benchmarks.reporting.page import Figure, Part, this_machine, write_page

LONGEST_S = 900


@dataclass(frozen=True, slots=True)
class Benchmark:
    """`plots`: it takes `--html FILE`, and its figures go into the report."""

    name: str
    arguments: tuple[str, ...]
    shows: str
    plots: bool = False

    @property
    def command(self) -> str:
        return " ".join(("python -m", f"benchmarks.{self.name}", *self.arguments))


QUICK = (
    Benchmark(
        "messages",
        ("--requests", "5000", "--runs", "2"),
        "Messages a second beside FastStream, Celery and a plain loop.",
    ),
    Benchmark("pipeline_overhead", ("--minutes", "3"), "What the pipeline leaves of the engine's speed."),
    Benchmark("cache", ("--requests", "10000", "--runs", "1"), "What a look-up costs, and how many hit."),
    Benchmark("delivery", ("--requests", "10000", "--runs", "1"), "What exactly-once delivery costs."),
    Benchmark("load_steps", (), "Latency and errors up to 10,000 requests in flight.", plots=True),
    Benchmark("trace_replay", ("--requests", "1200"), "Latency and fill under real arrivals.", plots=True),
    Benchmark("backlog", ("--peak", "20000"), "The backlog as the worker shows it, beside the truth.", plots=True),
    Benchmark(
        "soak", ("--minutes", "6", "--rate", "20"), "Memory under steady load, and the end on SIGTERM.", plots=True
    ),
    Benchmark("ablation", ("--requests", "16"), "What each technique of serving buys."),
)


def run(benchmark: Benchmark, folder: Path) -> tuple[Part, Any]:
    """Its part of the report, and what it printed as JSON; an object with `failed` where it did not end well."""
    page = folder / f"{benchmark.name}.html"
    command = [sys.executable, "-m", f"benchmarks.{benchmark.name}", *benchmark.arguments]
    if benchmark.plots:
        command += ["--html", str(page)]
    began = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return Part(benchmark.name, [benchmark.shows, f"It did not end within {LONGEST_S} s."]), {"failed": "too slow"}
    told = [benchmark.shows, f"{benchmark.command} ({time.monotonic() - began:.0f} s)"]
    return ended(benchmark.name, told, done, drawings(page.read_text()) if page.exists() else [])


def ended(
    name: str, told: list[str], done: subprocess.CompletedProcess[str], drawn: Sequence[Figure]
) -> tuple[Part, Any]:
    """The same, of a command that has come to its end."""
    *printed, last = done.stdout.splitlines() or [""]
    try:
        found = orjson.loads(last)
    except orjson.JSONDecodeError:
        return Part(name, [*told, "It failed."], output=done.stderr[-2000:]), {"failed": done.stderr[-2000:]}
    if done.returncode:
        failed = f"What it looks for does not hold (exit status {done.returncode})."
        output = "\n".join((*printed, done.stderr[-2000:]))
        return Part(name, [*told, failed], figures=drawn, output=output), {"failed": failed, "found": found}
    return Part(name, told, figures=drawn, output="\n".join(printed)), found


def drawings(page: str) -> list[Figure]:
    """Every plot of a page."""
    pieces = page.split("<svg")[1:]
    return [Figure("", f"<svg{piece.split('</svg>', 1)[0]}</svg>") for piece in pieces]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of benchmarks; all where none is named")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    asked = parser.parse_args()
    chosen = [each for each in QUICK if not asked.names or each.name in asked.names]
    parts: list[Part] = []
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for benchmark in chosen:
            Console().print(f"[bold]{benchmark.command}")
            part, results[benchmark.name] = run(benchmark, Path(folder))
            parts.append(part)
            Console().print(part.output, markup=False, highlight=False)
    write_page(asked.out / "bench.html", "Pelton's benchmarks", parts)
    found = {"machine": this_machine(), "results": results}
    (asked.out / "bench.json").write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    Console().print(f"{asked.out / 'bench.html'}, {asked.out / 'bench.json'}")
    sys.exit(any("failed" in found for found in results.values() if isinstance(found, dict)))


if __name__ == "__main__":
    main()
