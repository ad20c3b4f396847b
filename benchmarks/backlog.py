"""The backlog that a worker shows beside the time that it takes, from nothing to some 50,000 requests and back.

    python -m benchmarks.backlog [--requests N] [--out FILE]

A simulated engine answers some hundred requests a second; requests come in bursts until so many wait. Each second
`pelton_backlog_requests` and `pelton_backlog_seconds` are read from the worker's metrics port. What waits at a moment
has in truth taken until as many replies were committed as requests had been sent. Then the scaler of configs/kubernetes
is simulated on a backlog as large. Writes both as plots to FILE (HTML), and prints JSON.
"""

import argparse
import asyncio
import math
import statistics
import time
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from aiokafka import AIOKafkaConsumer

from benchmarks.reporting.page import Part, paragraphs, write_page
from benchmarks.reporting.plots import lines
from benchmarks.support import scaler
from benchmarks.support.common import Measurement, publish
from benchmarks.support.scaler import Moment, Rule, simulate, turns
from pelton.commands.top.scraping import scrape
from pelton.stack.ports import LOOPBACK, free_port
from pelton.stack.stack import LocalStack, StackConfig
from pelton.workers.kafka.topics import ensure_topics

BURST = 2_500
PAUSE_S = 0.5
LIMIT_S = 600
NEAR = 0.2
LEAST_S = 5.0
"""Of truth: below it a look every two seconds has little to be right about."""
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

    def sent_by(self, at: float) -> int:
        return max((count for when, count in self.sent if when <= at), default=0)

    def truth(self, at: float) -> float | None:
        """Seconds until all that was sent by then was answered; None where that was not seen."""
        counts = [count for _, count in self.answered]
        place = bisect_left(counts, self.sent_by(at))
        return None if place == len(counts) else max(0.0, self.answered[place][0] - at)


async def follow(this: Measurement, requests: int) -> Course:
    """Send in bursts, and look on until all is answered."""
    course, port = Course(), free_port()
    await ensure_topics(this.kafka)
    async with this.reader() as reader, this.worker(**SPEED, PELTON_WORKER__METRICS_PORT=str(port)):
        looking = asyncio.create_task(_look(course, f"http://{LOOPBACK}:{port}"))
        sending = asyncio.create_task(_send(course, this, requests))
        async with asyncio.timeout(LIMIT_S):
            await _count(course, reader, requests)
        await sending
        await asyncio.sleep(5)
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
    return course


async def _send(course: Course, this: Measurement, requests: int) -> None:
    for first in range(0, requests, BURST):
        await publish(this.kafka, range(first, min(requests, first + BURST)))
        course.sent.append((course.now, min(requests, first + BURST)))
        await asyncio.sleep(PAUSE_S)


async def _count(course: Course, reader: AIOKafkaConsumer, requests: int) -> None:
    seen = 0
    while seen < requests:
        seen += sum(map(len, (await reader.getmany(timeout_ms=500)).values()))
        course.answered.append((course.now, seen))


async def _look(course: Course, url: str) -> None:
    while True:
        [found] = await asyncio.to_thread(scrape, [url])
        requests, seconds = found.value("pelton_backlog_requests"), found.value("pelton_backlog_seconds")
        if requests is not None and seconds is not None:
            course.shown.append((course.now, requests, seconds))
        await asyncio.sleep(1)


def ratios(course: Course) -> list[float]:
    """Estimate by truth, once all is sent and while there is something left to wait for."""
    last = course.sent[-1][0]
    pairs = [(seconds, course.truth(at)) for at, _, seconds in course.shown if at > last]
    return [shown / true for shown, true in pairs if true is not None and true >= LEAST_S and not math.isnan(shown)]


def report(course: Course, scaled: Sequence[Moment], requests: int) -> dict[str, object]:
    """The figures."""
    found = ratios(course)
    return {
        "requests": requests,
        "largest_backlog_shown": max(waiting for _, waiting, _ in course.shown),
        "seconds": round(course.answered[-1][0], 1),
        "looks": len(found),
        "estimate_by_truth_median": round(statistics.median(found), 3),
        "within_a_fifth": round(sum(abs(ratio - 1) <= NEAR for ratio in found) / len(found), 3),
        "scaler_turns": turns(list(scaled)),
        "scaler_most_workers": max(moment.wanted for moment in scaled),
    }


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
    backlog = lines("Backlog", "minutes", "requests", {"backlog": (minutes, [moment.backlog for moment in scaled])})
    workers = lines("Workers", "minutes", "workers", {
        "wanted": (minutes, [moment.wanted for moment in scaled]),
        "ready": (minutes, [moment.ready for moment in scaled]),
    })  # fmt: skip
    return [
        Part("The estimate beside the truth", paragraphs(__doc__), figures=[estimate, waiting]),
        Part("The scaler, simulated", paragraphs(scaler.__doc__), figures=[backlog, workers]),
    ]


def main() -> None:
    """Measure, simulate, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=60_000)
    parser.add_argument("--out", type=Path, default=Path("build/backlog.html"))
    options = parser.parse_args()
    with LocalStack(StackConfig()) as stack:
        course = asyncio.run(follow(Measurement.new(stack.kafka.bootstrap_servers, "backlog"), options.requests))
    per_s = options.requests * 1.2 / 100
    scaled = simulate(Rule.of_manifest(), lambda at: per_s if 60 <= at < 160 else 0.0, seconds=3_000, worker_per_s=10.0)
    write_page(options.out, "Backlog", parts(course, scaled))
    print(orjson.dumps(report(course, scaled, options.requests), option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    main()
