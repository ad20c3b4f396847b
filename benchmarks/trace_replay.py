"""Thirteen minutes of real arrivals, replayed: latency and batch fill under the rhythm of production traffic.

    python -m benchmarks.trace_replay [--trace conv|code] [--requests N] [--speedup N] [--html FILE]

The first requests of the Azure LLM inference trace 2023 (`benchmarks/data/`: arrival times, prompt and answer
lengths), sent at their own times divided by `--speedup`, each with a prompt and an answer as long as the trace says.
The worker runs the simulated engine at about the speed of a 7B model on one large GPU: 20 ms a step and 0.02 ms for
each running request, 30 ms more for a step in which requests join, 256 rows: some 5,000 tokens/s. That is four times
what the conversations ask for, so at three times their speed it keeps up, and at ten times a backlog grows to the end.
Latency is from sending to the committed reply, as a reader sees it; the floor beside it is what the engine would take
for a request alone. Fill is the share of the rows that run; what does not run is in Kafka, in the queue, or answered
and not committed yet.

Prints a table and the same as JSON; `--html` writes a page with plots.
"""

import argparse
import asyncio
import csv
import statistics
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from benchmarks.reporting.page import Part, paragraphs, write_page
from benchmarks.reporting.plots import lines
from benchmarks.support.common import WIDE, Measurement
from benchmarks.support.data import DATA
from pelton.producers.client import InferenceClient
from pelton.stack.ports import free_port
from pelton.stack.stack import LocalStack, StackConfig
from pelton.workers.kafka.topics import ensure_topics

BYTES_A_TOKEN = 4
"""Of the simulated engine's toy code."""
JOIN_MS, STEP_MS, ROW_MS = 30.0, 20.0, 0.02
ROWS = 256
LONGEST = 2_048
LOOK_S = 0.25
REPLY_S = 300
WINDOWS = 60
COLUMNS = (
    "trace", "requests", "errors", "seconds", "requests/s", "tokens/s", "p50 s", "p90 s", "p99 s", "p50 over floor",
    "mean fill",
)  # fmt: skip
ENGINE = {
    "PELTON_ENGINE__SIMULATED__TTFT_MS": str(JOIN_MS),
    "PELTON_ENGINE__SIMULATED__ITL_MS": str(STEP_MS),
    "PELTON_ENGINE__SIMULATED__ITL_MS_PER_ROW": str(ROW_MS),
    "PELTON_ENGINE__SIMULATED__MAX_RUNNING": str(ROWS),
    # Answers as long as each request allows, which is what the trace says.
    "PELTON_ENGINE__SIMULATED__MIN_OUTPUT_TOKENS": str(LONGEST),
    "PELTON_ENGINE__SIMULATED__MEAN_OUTPUT_TOKENS": str(LONGEST),
    "PELTON_ENGINE__SIMULATED__MAX_OUTPUT_TOKENS": str(LONGEST),
    "PELTON_ENGINE__MAX_BATCH_TOKENS": "32768",
    "PELTON_WORKER__MAX_WAITING_TOKENS": "524288",
    "PELTON_CACHE__ENABLED": "false",
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """At `at_s` from the trace's beginning, in its own time."""

    at_s: float
    prompt_tokens: int
    answer_tokens: int

    @property
    def floor_s(self) -> float:
        return (JOIN_MS + self.answer_tokens * (STEP_MS + ROW_MS)) / 1000

    def body(self, number: int) -> bytes:
        words = f"{number} ".ljust(self.prompt_tokens * BYTES_A_TOKEN - len("user: "), "x")
        messages = [{"role": "user", "content": words}]
        return orjson.dumps({"model": "default", "messages": messages, "max_completion_tokens": self.answer_tokens})


def read_trace(path: Path) -> list[Arrival]:
    with path.open(newline="") as file:
        rows = [*csv.DictReader(file)]
    moments = [datetime.fromisoformat(row["TIMESTAMP"][:26]) for row in rows]
    return [
        Arrival((moment - moments[0]).total_seconds(), int(row["ContextTokens"]), int(row["GeneratedTokens"]))
        for moment, row in zip(moments, rows, strict=True)
    ]


@dataclass(slots=True)
class Replay:
    """What was seen; times in seconds from the beginning, as replayed."""

    arrivals: list[Arrival]
    sent_s: list[float] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    over_floor: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    looked_s: list[float] = field(default_factory=list)
    running: list[float] = field(default_factory=list)
    backlog: list[float] = field(default_factory=list)
    took_s: float = 0.0

    def figures(self) -> dict[str, float]:
        cuts = statistics.quantiles(self.latencies_s, n=100)
        return {
            "requests": len(self.arrivals),
            "errors": len(self.errors),
            "seconds": self.took_s,
            "requests_per_s": len(self.latencies_s) / self.took_s,
            "tokens_per_s": sum(each.answer_tokens for each in self.arrivals) / self.took_s,
            "p50_s": cuts[49],
            "p90_s": cuts[89],
            "p99_s": cuts[98],
            "p50_over_floor": statistics.median(self.over_floor),
            "mean_fill": statistics.mean(self.running) / ROWS,
        }


async def replay(bootstrap: str, arrivals: list[Arrival], speedup: float) -> Replay:
    this = Measurement.new(bootstrap, "replay")
    await ensure_topics(this.kafka)
    found = Replay(arrivals)
    port = free_port()
    environment = {**ENGINE, "PELTON_WORKER__METRICS_PORT": str(port)}
    async with this.worker(**environment), InferenceClient(this.kafka) as client:
        began = time.perf_counter()
        looking = asyncio.create_task(_look(port, found, began))
        async with asyncio.TaskGroup() as asking:
            for number, arrival in enumerate(arrivals):
                await asyncio.sleep(max(0.0, began + arrival.at_s / speedup - time.perf_counter()))
                asking.create_task(_ask(client, number, arrival, found, began))
        found.took_s = time.perf_counter() - began
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    return found


async def _ask(client: InferenceClient, number: int, arrival: Arrival, found: Replay, began: float) -> None:
    sent = time.perf_counter()
    try:
        reply = await client.request(arrival.body(number), timeout_s=REPLY_S)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what is counted
        found.errors.append(repr(error))
        return
    if reply.error is not None:
        found.errors.append(repr(reply.error))
        return
    latency = time.perf_counter() - sent
    found.sent_s.append(sent - began)
    found.latencies_s.append(latency)
    found.over_floor.append(latency / arrival.floor_s)


async def _look(port: int, found: Replay, began: float) -> None:
    """Note what runs and what waits, as the worker's own metrics say, until cancelled."""
    while True:
        told = await asyncio.to_thread(_metrics, port)
        found.looked_s.append(time.perf_counter() - began)
        found.running.append(told["pelton_running_requests"])
        found.backlog.append(told["pelton_backlog_requests"])
        await asyncio.sleep(LOOK_S)


def _metrics(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


def cells(name: str, found: Replay) -> list[str]:
    figures = found.figures()
    whole = [f"{figures[each]:,.0f}" for each in ("requests", "errors", "seconds")]
    rates = [f"{figures['requests_per_s']:.1f}", f"{figures['tokens_per_s']:,.0f}"]
    times = [f"{figures[each]:.2f}" for each in ("p50_s", "p90_s", "p99_s")]
    return [name, *whole, *rates, *times, f"{figures['p50_over_floor']:.2f}x", f"{figures['mean_fill']:.0%}"]


def part(name: str, found: Replay) -> Part:
    """The page's: latency over the replay, and what ran and waited."""
    window_s = found.took_s / WINDOWS
    windows: dict[int, list[float]] = {}
    for sent, latency in zip(found.sent_s, found.latencies_s, strict=True):
        windows.setdefault(int(sent / window_s), []).append(latency)
    full = sorted((at, latencies) for at, latencies in windows.items() if len(latencies) > 1)
    across = [(at + 0.5) * window_s for at, _ in full]
    cuts = [statistics.quantiles(latencies, n=100, method="inclusive") for _, latencies in full]
    percentiles = {f"p{share}": (across, [each[share - 1] for each in cuts]) for share in (50, 90, 99)}
    fill = [100 * rows / ROWS for rows in found.running]
    waiting = [max(0.0, owed - rows) for owed, rows in zip(found.backlog, found.running, strict=True)]
    middles = [(window + 0.5) * window_s for window in range(WINDOWS)]
    ended_s = [sent + latency for sent, latency in zip(found.sent_s, found.latencies_s, strict=True)]
    rates = {
        "sent": (middles, _per_s(found.sent_s, window_s)),
        "answered": (middles, _per_s(ended_s, window_s)),
    }
    waits = {"owed a reply and not running": (found.looked_s, waiting)}
    x = "seconds since the beginning"
    until = found.took_s
    return Part(
        f"Azure LLM inference trace 2023, {name}",
        paragraphs(__doc__),
        COLUMNS,
        [cells(name, found)],
        [
            lines("Arrivals and answers", x, "requests/s", rates, until=until),
            lines("Latency by the time of sending", x, "s", percentiles, until=until),
            lines("Batch fill", x, "% of rows", {"running": (found.looked_s, fill)}, until=until),
            lines("Requests that wait", x, "requests", waits, until=until),
        ],
    )


def _per_s(at_s: list[float], window_s: float) -> list[float]:
    counts = [0] * WINDOWS
    for at in at_s:
        counts[min(WINDOWS - 1, int(at / window_s))] += 1
    return [count / window_s for count in counts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", choices=("conv", "code"), default="conv")
    parser.add_argument("--requests", type=int, help="only the first ones")
    parser.add_argument("--speedup", type=float, default=3.0)
    parser.add_argument("--html", type=Path, help="write a page with plots")
    asked = parser.parse_args()
    arrivals = read_trace(DATA / f"azure_llm_trace_2023_{asked.trace}.csv")[: asked.requests]
    with LocalStack(StackConfig()) as stack:
        found = asyncio.run(replay(stack.kafka.bootstrap_servers, arrivals, asked.speedup))
    table = Table(*COLUMNS, title=f"Azure LLM inference trace 2023, {asked.speedup:g} times as fast")
    table.add_row(*cells(asked.trace, found))
    WIDE.print(table)
    for error in found.errors[:5]:
        Console(stderr=True).print(error)
    if asked.html:
        write_page(asked.html, "Trace replay", [part(asked.trace, found)])
    told: dict[str, Any] = {"trace": asked.trace, "speedup": asked.speedup, **found.figures()}
    print(orjson.dumps(told).decode())
    sys.exit(bool(found.errors))


if __name__ == "__main__":
    main()
