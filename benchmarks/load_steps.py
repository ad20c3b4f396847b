"""More and more requests in flight at one worker: latency, errors, memory and processor time at each step.

    python -m benchmarks.load_steps [--steps 100,1000,10000] [--html FILE]

A client keeps so many requests in flight, each a question of its own with a correlation id of its own, and sends the
next when a reply is there. The worker runs the simulated engine at the speed of a small model on a GPU (its defaults:
20 ms for a step in which requests join, 5 ms for any other and 0.02 ms for each running request, 256 rows, 24 tokens
on average); whatever is above those rows waits, so latency must grow with what is in flight, and nothing else may.
Client, broker and worker share this machine's cores.

Prints a table and the same as JSON; `--html` writes a page with plots.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.reporting.page import Part, paragraphs, write_page
from benchmarks.reporting.plots import lines
from benchmarks.reporting.resources import Usage, watched
from benchmarks.support.common import WIDE, Measurement, body
from pelton.producers.client import InferenceClient
from pelton.stack.stack import LocalStack, StackConfig
from pelton.workers.kafka.topics import ensure_topics

STEPS = "100,1000,10000"
TIMES = 3
LEAST = 2_000
"""Each step answers `TIMES` as many requests as it keeps in flight, and at least so many."""
REPLY_S = 300
LOOK_S = 0.5
SMALL_MODEL = {
    "PELTON_ENGINE__SIMULATED__TTFT_MS": "20",
    "PELTON_ENGINE__SIMULATED__ITL_MS": "5",
    "PELTON_ENGINE__SIMULATED__ITL_MS_PER_ROW": "0.02",
}
COLUMNS = (
    "in flight", "requests", "errors", "replies/s", "p50 s", "p90 s", "p99 s",
    "worker MiB", "worker cores", "client cores",
)  # fmt: skip


@dataclass(slots=True)
class Step:
    """One step's findings; times in seconds, memory in MiB."""

    in_flight: int
    requests: int
    latencies_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    took_s: float = 0.0
    usage: dict[str, Usage] = field(default_factory=dict)

    def figures(self) -> dict[str, float]:
        cuts = statistics.quantiles(self.latencies_s, n=100)
        return {
            "in_flight": self.in_flight,
            "requests": self.requests,
            "errors": len(self.errors),
            "replies_per_s": len(self.latencies_s) / self.took_s,
            "p50_s": cuts[49],
            "p90_s": cuts[89],
            "p99_s": cuts[98],
            "worker_peak_mib": self.usage["worker"].peak_mib,
            "worker_cores": self.usage["worker"].mean_cores,
            "client_cores": self.usage["client"].mean_cores,
        }


async def hold(client: InferenceClient, step: Step, numbers: Iterator[int]) -> None:
    """One of those that keep a request in flight: the next one goes when its reply is there."""
    for number in numbers:
        began = time.perf_counter()
        try:
            reply = await client.request(body(number), timeout_s=REPLY_S)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is what is counted
            step.errors.append(repr(error))
            continue
        if reply.error is None:
            step.latencies_s.append(time.perf_counter() - began)
        else:
            step.errors.append(repr(reply))


async def climb(bootstrap: str, sizes: list[int]) -> list[Step]:
    this = Measurement.new(bootstrap, "steps")
    await ensure_topics(this.kafka)
    found: list[Step] = []
    sent = 0
    async with this.worker(**SMALL_MODEL) as (worker, _), InferenceClient(this.kafka) as client:
        for size in sizes:
            step = Step(size, max(LEAST, TIMES * size))
            numbers = iter(range(sent, sent + step.requests))
            sent += step.requests
            async with watched({"worker": worker.pid, "client": os.getpid()}, LOOK_S) as step.usage:
                began = time.perf_counter()
                async with asyncio.TaskGroup() as holding:
                    for _ in range(size):
                        holding.create_task(hold(client, step, numbers))
                step.took_s = time.perf_counter() - began
            worker.check()
            found.append(step)
    return found


def cells(step: Step) -> list[str]:
    figures = step.figures()
    shown = [f"{figures[name]:,.0f}" for name in ("in_flight", "requests", "errors", "replies_per_s")]
    shown += [f"{figures[name]:.2f}" for name in ("p50_s", "p90_s", "p99_s")]
    return [
        *shown,
        f"{figures['worker_peak_mib']:.0f}",
        *(f"{figures[name]:.2f}" for name in ("worker_cores", "client_cores")),
    ]


def part(steps: list[Step]) -> Part:
    """The page's: percentiles by what is in flight, and the whole distribution of each step."""
    shares = [share / 100 for share in range(1, 100)]
    by_size = {
        name: ([step.in_flight for step in steps], [step.figures()[f"{name}_s"] for step in steps])
        for name in ("p50", "p90", "p99")
    }
    whole = {f"{step.in_flight:,} in flight": (statistics.quantiles(step.latencies_s, n=100), shares) for step in steps}
    memory: dict[str, tuple[list[float], list[float]]] = {}
    passed = 0.0
    for step in steps:
        usage = step.usage["worker"]
        memory[f"{step.in_flight:,} in flight"] = [passed + at for at in usage.at_s], usage.rss_mib
        passed += step.took_s
    return Part(
        "Load steps",
        paragraphs(__doc__),
        COLUMNS,
        [cells(step) for step in steps],
        [
            lines("Latency by requests in flight", "requests in flight", "s", by_size, marks=True, log_x=True),
            lines("Latency of all requests", "s", "share of requests answered", whole, log_x=True),
            lines("Memory of the worker", "s", "MiB (RSS)", memory),
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default=STEPS, help="requests in flight, one step after the other")
    parser.add_argument("--html", type=Path, help="write a page with plots")
    asked = parser.parse_args()
    with LocalStack(StackConfig()) as stack:
        steps = asyncio.run(climb(stack.kafka.bootstrap_servers, [int(size) for size in asked.steps.split(",")]))
    table = Table(*COLUMNS, title="Requests in flight at one worker, simulated engine")
    for step in steps:
        table.add_row(*cells(step))
    WIDE.print(table)
    failed = [error for step in steps for error in step.errors]
    for error in failed[:5]:
        Console(stderr=True).print(error)
    if asked.html:
        write_page(asked.html, "Load steps", [part(steps)])
    print(orjson.dumps({"steps": [step.figures() for step in steps]}).decode())
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
