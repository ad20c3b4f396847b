"""Who answers messages in this comparison: how each is given its requests, started, and counted."""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from redis.asyncio import Redis

from benchmarks.support.common import GRACE_S, Measurement, body, publish, replies_per_s
from pelton.stack.process import ChildProcess
from pelton.workers.kafka.topics import ensure_topics

REPLIES_S = 180
_HERE = Path(__file__).parent
_LOOK_S = 0.05
_ALONE = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR")
CELERY_POOLS = {"solo": ("--pool=solo",), "8 threads": ("--pool=threads", "--concurrency=8")}
"""Celery's pools of one process that need nothing but Celery."""


def installed(package: str) -> bool:
    return find_spec(package) is not None


async def pelton(bootstrap: str, name: str, requests: int) -> float:
    """Committed replies per second of a worker with the simulated engine at 0 ms, exactly-once as by default."""
    this = await _filled(bootstrap, name, requests)
    async with this.reader() as reader, asyncio.timeout(REPLIES_S), this.worker():
        return await replies_per_s(reader, requests)


async def plain_loop(bootstrap: str, name: str, requests: int) -> float:
    """Replies per second of the bare consumer of `benchmarks/support/bare_consumer.py`."""
    this = await _filled(bootstrap, name, requests)
    async with this.reader() as reader, asyncio.timeout(REPLIES_S), this.echo():
        return await replies_per_s(reader, requests)


async def faststream(bootstrap: str, name: str, requests: int, max_workers: int) -> float:
    """Replies per second of a FastStream handler with so many workers in its one process."""
    this = await _filled(bootstrap, name, requests)
    topics = [bootstrap, this.kafka.request_topics[0], this.kafka.reply_topic]
    command = [sys.executable, str(_HERE / "faststream_echo.py"), *topics, str(max_workers)]
    async with this.reader() as reader, asyncio.timeout(REPLIES_S), _process("FastStream", command):
        return await replies_per_s(reader, requests)


async def celery(redis_url: str, requests: int, pool: str) -> float:
    """Stored results per second of one Celery worker process with a pool of `CELERY_POOLS`."""
    broker, results = f"{redis_url}/0", f"{redis_url}/1"
    environment = {"BENCH_CELERY_BROKER": broker, "BENCH_CELERY_RESULTS": results}
    os.environ.update(environment)
    async with Redis.from_url(results) as stored, Redis.from_url(broker) as queued:
        await stored.flushdb()
        await queued.flushdb()
        await asyncio.to_thread(_send_tasks, requests)
        options = *CELERY_POOLS[pool], *_ALONE
        command = [sys.executable, "-m", "celery", "-A", "benchmarks.messages.celery_tasks", "worker", *options]
        async with _process("Celery", command), asyncio.timeout(REPLIES_S):
            return await _results_per_s(stored, requests)


def _send_tasks(requests: int) -> None:
    from benchmarks.messages.celery_tasks import echo  # noqa: PLC0415  # needs Celery, and where its broker is

    for index in range(requests):
        echo.apply_async((body(index).decode(),))


async def _results_per_s(stored: Redis, requests: int) -> float:
    """Count results from the first to the last: the results' database holds nothing else."""
    first = seen = 0
    started = 0.0
    while seen < requests:
        await asyncio.sleep(_LOOK_S)
        seen = await stored.dbsize()
        if seen and not first:
            first, started = seen, time.perf_counter()
    return (seen - first) / (time.perf_counter() - started)


async def _filled(bootstrap: str, name: str, requests: int) -> Measurement:
    this = Measurement.new(bootstrap, name)
    await ensure_topics(this.kafka)
    await publish(this.kafka, range(requests))
    return this


@asynccontextmanager
async def _process(name: str, command: list[str]) -> AsyncIterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        process = ChildProcess(name, command, log_file=Path(folder) / "log", grace_s=GRACE_S)
        try:
            yield
            process.check()
        finally:
            await asyncio.to_thread(process.stop)
