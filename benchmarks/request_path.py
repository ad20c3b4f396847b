"""The path of one cache miss through a worker: files, calls, and changes of thread.

    python -m benchmarks.request_path [--requests N] [--list] [--together N]

A worker in this process answers requests one after the other, each for the first time, with an engine that takes no
time; a broker and a cache run beside it. From the moment that a record was polled until its reply is committed every
call of a function of Pelton is noted, those inside the engine left out. Each figure is the lowest of any request: the
others had a watch over deadlines or the like among them, or two threads in each other's way. Then another worker finds
so many requests there together, and every call of a Python function is counted, in Pelton, its engine and in libraries,
until the last of them is answered and counted: `calls_together` are those for each, a few percent up or down with the
sizes of batches. Prints the figures as JSON; with `--list` the path with the fewest calls as well, file by file.
"""

import argparse
import asyncio
import itertools
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.support.common import PARTITIONS, publish
from pelton.pipeline.lifecycle import Lifecycle, State
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.settings.loading import Settings
from pelton.stack.stack import LocalStack, StackConfig
from pelton.workers import served_model
from pelton.workers.kafka.topics import ensure_topics
from pelton.workers.worker import Worker

ROOT = Path(__file__).parents[1].resolve()
ROOMS = ("workers/", "pipeline/", "cache/")
ENGINE = "workers/engine/"
FIRST, LAST = ("workers/intake/poller.py", "_ticket"), ("pipeline/offsets.py", "complete")
LIMIT_S = 30
REST_S = 0.1
"""The worker hears of a commit a little after the reader of replies does."""


@dataclass(frozen=True, slots=True)
class Step:
    """A function that began or went on: its file, its name, its thread, and the call that it belongs to."""

    file: str
    name: str
    thread: int
    call: int


@dataclass(slots=True)
class Trace:
    """Notes what runs between the first and the last function of a request's path, on all threads."""

    paths: list[list[Step]] = field(default_factory=list)
    recording: bool = False
    _files: dict[str, str | None] = field(default_factory=dict)
    _frames: list[FrameType] = field(default_factory=list)

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        name = frame.f_code.co_name
        if event != "call" or name.startswith("<"):
            return
        file = self._file(frame.f_code.co_filename)
        if file is None:
            return
        if (file, name) == FIRST:
            self.recording = True
            self.paths.append([])
        if self.recording:
            self._frames.append(frame)  # kept, so that no other gets its identity
            self.paths[-1].append(Step(file, name, threading.get_ident(), id(frame)))
        if (file, name) == LAST:
            self.recording = False
            self._frames.clear()

    def _file(self, filename: str) -> str | None:
        """A file of Pelton's by its path there; None for any other, and for the engine's."""
        if filename not in self._files:
            path = Path(filename).resolve()
            file = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else ""
            self._files[filename] = file if file.startswith(ROOMS) and not file.startswith(ENGINE) else None
        return self._files[filename]


def figures(path: list[Step]) -> dict[str, int]:
    """`stays` are stretches in one file, however long."""
    return {
        "files": len({step.file for step in path}),
        "calls": len({step.call for step in path}),
        "stays": len([*itertools.groupby(path, lambda step: step.file)]),
        "thread_changes": len([*itertools.groupby(path, lambda step: step.thread)]) - 1,
    }


@dataclass(frozen=True, slots=True)
class CallCount:
    """Counts calls of functions that have a name, on all threads."""

    calls: Iterator[int] = field(default_factory=itertools.count)

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and not frame.f_code.co_name.startswith("<"):
            next(self.calls)


def settings_on(bootstrap: str, redis_url: str, name: str, partitions: int, flush_interval_ms: int) -> Settings:
    return Settings(
        kafka={
            "bootstrap_servers": bootstrap,
            "group_id": name,
            "request_topics": (f"{name}-requests",),
            "reply_topic": f"{name}-replies",
            "create_topics": True,
            "partitions": partitions,
        },
        worker={"flush_interval_ms": flush_interval_ms},
        cache={"redis_url": redis_url},
        engine={"kind": "simulated", "simulated": {"ttft_ms": 0, "itl_ms": 0, "itl_ms_per_row": 0}},
    )


async def traced(settings: Settings, requests: int) -> list[list[Step]]:
    """The paths of so many requests, one after the other."""
    await ensure_topics(settings.kafka)
    ready, trace = asyncio.Event(), Trace()
    lifecycle = Lifecycle(lambda state: ready.set() if state is State.READY else None)
    threading.setprofile(trace)
    sys.setprofile(trace)
    running = asyncio.create_task(Worker(settings, served_model.build(settings), lifecycle, Metrics()).run())
    await ready.wait()
    where = {"bootstrap_servers": settings.kafka.bootstrap_servers}
    replies = AIOKafkaConsumer(
        settings.kafka.reply_topic, **where, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    async with AIOKafkaProducer(**where) as producer, replies, asyncio.timeout(LIMIT_S + requests):
        for number in range(requests):
            messages = [{"role": "user", "content": f"question {number}"}]
            body = {"model": "default", "messages": messages, "temperature": 0, "max_completion_tokens": 1}
            await producer.send_and_wait(settings.kafka.request_topics[0], orjson.dumps(body))
            await replies.getone()
            await asyncio.sleep(REST_S)
    sys.setprofile(None)
    threading.setprofile(None)
    lifecycle.advance(State.DRAINING)
    await running
    return trace.paths


async def calls_together(settings: Settings, requests: int) -> float:
    """Calls for each of so many requests that a worker finds there when it starts."""
    await ensure_topics(settings.kafka)
    await publish(settings.kafka, range(requests))
    ready, count, metrics = asyncio.Event(), CallCount(), Metrics()
    lifecycle = Lifecycle(lambda state: ready.set() if state is State.READY else None)
    worker = Worker(settings, served_model.build(settings), lifecycle, metrics)
    threading.setprofile(count)
    sys.setprofile(count)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(LIMIT_S + requests / 10):
        await ready.wait()
        while _finished(metrics) < requests:  # noqa: ASYNC110  # a counter sets no event
            await asyncio.sleep(REST_S)
    sys.setprofile(None)
    threading.setprofile(None)
    lifecycle.advance(State.DRAINING)
    await running
    return next(count.calls) / requests


def _finished(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("pelton_requests_finished_total", {"code": "ok"}) or 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=30)
    parser.add_argument("--list", action="store_true", help="print the path itself as well")
    parser.add_argument("--together", type=int, default=3_000)
    asked = parser.parse_args()
    with LocalStack(StackConfig()) as stack:
        where = stack.kafka.bootstrap_servers, stack.valkey.url
        paths = asyncio.run(traced(settings_on(*where, "path", 1, 0), asked.requests))
        together = asyncio.run(calls_together(settings_on(*where, "together", PARTITIONS, 50), asked.together))
    measured = [figures(path) for path in paths]
    if asked.list:
        shortest = min(paths, key=lambda path: figures(path)["calls"])
        for file, steps in itertools.groupby(shortest, lambda step: step.file):
            sys.stdout.write(f"{file}: {' '.join(step.name for step in steps)}\n")
    lowest = {name: min(each[name] for each in measured) for name in measured[0]}
    sys.stdout.write(orjson.dumps(lowest | {"calls_together": round(together, 1)}).decode() + "\n")


if __name__ == "__main__":
    main()
