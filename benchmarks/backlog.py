"""The backlog that a worker shows beside the time that it takes, from nothing to 50,000 requests and back.

    python -m benchmarks.backlog [--peak N] [--html FILE]

A simulated engine answers some hundred requests a second; requests come in bursts until so many are unanswered, and
then no more. Each second `pelton_backlog_requests` and `pelton_backlog_seconds` are read from the worker's metrics.
What waits at a moment has in truth taken until as many replies were committed as requests had been sent. The estimate
is compared with that from the last burst on: until then the sender takes processor time from the worker, which no
measured speed can know to come to an end. Then the scaler of configs/kubernetes is simulated on a backlog as large.

Prints a table and the same as JSON; `--html` writes a page with plots. Exits with 1 where fewer than nine in ten looks
are within a fifth of the truth.
"""

import argparse
import asyncio
import math
import statistics
import sys
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from aiokafka import AIOKafkaConsumer
from rich.table import Table

from benchmarks.reporting.page import Part, paragraphs, write_page
from benchmarks.reporting.plots import lines
from benchmarks.support.common import WIDE, Measurement, publish
from benchmarks.support.scaler import Moment, Rule, simulate, turns
from pelton.commands.top.scraping import scrape
from pelton.stack.ports import LOOPBACK, free_port
from pelton.stack.stack import LocalStack, StackConfig
from pelton.workers.kafka.topics import ensure_topics

BURST = 2_500
NEAR_PEAK = 250
"""So few are missing when the peak is reached: while more are sent some are answered."""
PAUSE_S = 0.5
LIMIT_S = 600
SIMULATED_S = 1_500
WORKER_PER_S = 10.0
SCALER = (
    "What KEDA and the HorizontalPodAutoscaler do with the ScaledObject of configs/kubernetes, as arithmetic: as "
    f"many requests come within 100 s, each worker answers {WORKER_PER_S:g} requests/s and takes 30 s to start."
)
NEAR = 0.2
ENOUGH = 0.9
"""The share of looks that have to be so near."""
LEAST_S = 5.0
"""Of truth: below it a look every two seconds has little to be right about."""
COLUMNS = (
    "requests", "largest shown", "seconds", "looks", "estimate / truth (median)", "within a fifth",
    "while sending too", "scaler turns", "most workers",
)  # fmt: skip
SPEED = {
    "PELTON_ENGINE__SIMULATED__TTFT_MS": "0",
    "PELTON_ENGINE__SIMULATED__ITL_MS": "20",
    "PELTON_CACHE__ENABLED": "false",
    "PELTON_WORKER__MAX_WAITING_REQUESTS": "1024",
}


@dataclass
class Course:
    """What was seen, by seconds since the start: requests sent, replies committed, and the worker's two gauges."""

    began: float = field(default_factory=time.monotonic)
    sent: list[tuple[float, int]] = field(default_factory=list)
    answered: list[tuple[float, int]] = field(default_factory=list)
    shown: list[tuple[float, float, float]] = field(default_factory=list)

    @property
    def now(self) -> float:
        return time.monotonic() - self.began

    @property
    def unanswered(self) -> int:
        """As far as it has been seen."""
        return (self.sent[-1][1] if self.sent else 0) - (self.answered[-1][1] if self.answered else 0)

    def sent_by(self, at: float) -> int:
        return max((count for when, count in self.sent if when <= at), default=0)

    def truth(self, at: float) -> float | None:
        """Seconds until all that was sent by then was answered; None where that was not seen."""
        counts = [count for _, count in self.answered]
        place = bisect_left(counts, self.sent_by(at))
        return None if place == len(counts) else max(0.0, self.answered[place][0] - at)


async def follow(this: Measurement, peak: int) -> Course:
    """Send in bursts, and look on until all is answered."""
    course, port = Course(), free_port()
    await ensure_topics(this.kafka)
    async with this.reader() as reader, this.worker(**SPEED, PELTON_WORKER__METRICS_PORT=str(port)):
        looking = asyncio.create_task(_look(course, f"http://{LOOPBACK}:{port}"))
        async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(_send(course, this, peak))
            tasks.create_task(_count(course, reader, sending))
        await asyncio.sleep(5)
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
    return course


async def _send(course: Course, this: Measurement, peak: int) -> None:
    sent = 0
    while (missing := peak - course.unanswered) > NEAR_PEAK:
        burst = range(sent, sent + min(BURST, missing))
        await publish(this.kafka, burst)
        sent = burst.stop
        course.sent.append((course.now, sent))
        await asyncio.sleep(PAUSE_S)


async def _count(course: Course, reader: AIOKafkaConsumer, sending: asyncio.Task[None]) -> None:
    seen = 0
    while not sending.done() or course.unanswered > 0:
        seen += sum(map(len, (await reader.getmany(timeout_ms=500)).values()))
        course.answered.append((course.now, seen))


async def _look(course: Course, url: str) -> None:
    while True:
        [found] = await asyncio.to_thread(scrape, [url])
        requests, seconds = found.value("pelton_backlog_requests"), found.value("pelton_backlog_seconds")
        if requests is not None and seconds is not None:
            course.shown.append((course.now, requests, seconds))
        await asyncio.sleep(1)


def ratios(course: Course, since: float = 0.0) -> list[float]:
    """Estimate by truth, while there is something to wait for."""
    pairs = [(seconds, course.truth(at)) for at, _, seconds in course.shown if at > since]
    return [shown / true for shown, true in pairs if true is not None and true >= LEAST_S and not math.isnan(shown)]


def figures(course: Course, scaled: Sequence[Moment]) -> dict[str, float]:
    found, all_along = ratios(course, since=course.sent[-1][0]), ratios(course)
    return {
        "requests": course.sent[-1][1],
        "largest_backlog_shown": max(waiting for _, waiting, _ in course.shown),
        "seconds": round(course.answered[-1][0], 1),
        "looks": len(found),
        "estimate_by_truth_median": round(statistics.median(found), 3),
        "within_a_fifth": _near(found),
        "within_a_fifth_all_along": _near(all_along),
        "scaler_turns": turns(list(scaled)),
        "scaler_most_workers": max(moment.wanted for moment in scaled),
    }


def _near(found: Sequence[float]) -> float:
    return round(sum(abs(ratio - 1) <= NEAR for ratio in found) / len(found), 3)


def cells(found: Mapping[str, float]) -> list[str]:
    whole = [f"{found[name]:,.0f}" for name in ("requests", "largest_backlog_shown", "seconds", "looks")]
    shares = [f"{found[name]:.1%}" for name in ("within_a_fifth", "within_a_fifth_all_along")]
    scaled = [f"{found[name]:.0f}" for name in ("scaler_turns", "scaler_most_workers")]
    return [*whole, f"{found['estimate_by_truth_median']:.2f}", *shares, *scaled]


def parts(course: Course, scaled: Sequence[Moment]) -> list[Part]:
    """What the page shows."""
    at = [when for when, *_ in course.shown]
    truth = [(when, true) for when in at if (true := course.truth(when)) is not None]
    answered = [when for when, _ in course.answered]
    minutes = [moment.at_s / 60 for moment in scaled]
    estimate = lines("Time left", "seconds", "seconds", {
        "pelton_backlog_seconds": (at, [seconds for *_, seconds in course.shown]),
        "truth": ([when for when, _ in truth], [true for _, true in truth]),
    })  # fmt: skip
    waiting = lines("Requests not answered", "seconds", "requests", {
        "pelton_backlog_requests": (at, [requests for _, requests, _ in course.shown]),
        "sent less committed": (answered, [course.sent_by(when) - count for when, count in course.answered]),
    })  # fmt: skip
    waiting_then = {"backlog": (minutes, [moment.backlog for moment in scaled])}
    backlog = lines("Backlog", "minutes", "requests", waiting_then, until=minutes[-1])
    workers = lines("Workers", "minutes", "workers", {
        "wanted": (minutes, [moment.wanted for moment in scaled]),
        "ready": (minutes, [moment.ready for moment in scaled]),
    }, until=minutes[-1])  # fmt: skip
    shown = [cells(figures(course, scaled))]
    return [
        Part("The estimate beside the truth", paragraphs(__doc__), COLUMNS, shown, [estimate, waiting]),
        Part("The scaler, simulated", [SCALER], figures=[backlog, workers]),
    ]


def main() -> None:
    """Measure, simulate, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peak", type=int, default=50_000, help="requests that are unanswered at most")
    parser.add_argument("--html", type=Path, help="write a page with plots")
    asked = parser.parse_args()
    with LocalStack(StackConfig()) as stack:
        course = asyncio.run(follow(Measurement.new(stack.kafka.bootstrap_servers, "backlog"), asked.peak))
    per_s = asked.peak * 1.2 / 100
    scaled = simulate(
        Rule.of_manifest(),
        lambda at: per_s if 60 <= at < 160 else 0.0,
        seconds=SIMULATED_S,
        worker_per_s=WORKER_PER_S,
    )
    found = figures(course, scaled)
    table = Table(*COLUMNS, title="The backlog as the worker shows it, beside the truth")
    table.add_row(*cells(found))
    WIDE.print(table)
    if asked.html:
        write_page(asked.html, "Backlog", parts(course, scaled))
    print(orjson.dumps(found).decode())
    sys.exit(found["within_a_fifth"] < ENOUGH)


if __name__ == "__main__":
    main()
