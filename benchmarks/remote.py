"""What the queue in front of an endpoint leaves of its speed: a worker beside the endpoint's own best client.

    python -m benchmarks.remote [--requests N] [--runs N] [--latency-ms N] [--slots N]

The endpoint is `support/mock_endpoint.py`: it has some slots, and each answer takes a slot for the set latency. The
client is aiohttp with all requests in one gather behind a semaphore, at each of several concurrencies; its best counts.
Behind the queue the same requests are published at once and the clock runs to the last committed reply; the worker has
answered others before, as the client has, and finds its concurrency by itself. In turn, on the same cores. Prints a
table and the same as JSON.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import orjson
from aiokafka import AIOKafkaConsumer

from benchmarks.support.common import Measurement, body, publish, report_two
from pelton.stack.ports import free_port
from pelton.stack.process import ChildProcess
from pelton.stack.stack import LocalStack, StackConfig
from pelton.workers.kafka.topics import ensure_topics

EARLIER = 256
"""Requests before the clock starts: connections are made, compilers and concurrencies have warmed up."""
LONGEST_S = 300


@asynccontextmanager
async def endpoint(latency_ms: float, slots: int) -> AsyncIterator[str]:
    """The base URL of a mock endpoint in a process of its own."""
    port = free_port()
    command = [
        "-m",
        "benchmarks.support.mock_endpoint",
        f"--port={port}",
        f"--latency-ms={latency_ms}",
        f"--slots={slots}",
    ]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        process = ChildProcess("The endpoint", [sys.executable, *command], log_file=log, grace_s=5)
        try:
            await asyncio.to_thread(process.wait_ready, lambda: "http" in log.read_text(), 30)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            await asyncio.to_thread(process.stop)


async def direct(url: str, requests: int, concurrency: int) -> float:
    """Answers per second of a client that does nothing else."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        places = asyncio.Semaphore(concurrency)

        async def ask(index: int) -> None:
            async with places, session.post(f"{url}/chat/completions", data=body(index)) as response:
                orjson.loads(await response.read())["choices"]

        await asyncio.gather(*(ask(index) for index in range(EARLIER)))
        started = time.perf_counter()
        await asyncio.gather(*(ask(index) for index in range(requests)))
        return requests / (time.perf_counter() - started)


async def behind(url: str, this: Measurement, requests: int, slots: int) -> float:
    """Committed replies per second."""
    await ensure_topics(this.kafka)
    remote = {
        "PELTON_ENGINE__KIND": "openai",
        "PELTON_ENGINE__REMOTE__ENDPOINTS": orjson.dumps([url]).decode(),
        "PELTON_ENGINE__REMOTE__MAX_CONCURRENCY": str(2 * slots),
        "PELTON_CACHE__ENABLED": "false",
    }
    async with this.reader() as reader, this.worker(**remote), asyncio.timeout(LONGEST_S):
        await publish(this.kafka, range(EARLIER))
        await _read(reader, EARLIER)
        started = time.perf_counter()
        await publish(this.kafka, range(requests))
        await _read(reader, requests)
        return requests / (time.perf_counter() - started)


async def _read(reader: AIOKafkaConsumer, replies: int) -> None:
    """Raises RuntimeError for a reply that is no answer."""
    while replies > 0:
        for records in (await reader.getmany(timeout_ms=1000)).values():
            replies -= len(records)
            if bad := [record.value for record in records if not record.value.startswith(b'{"id":')]:
                raise RuntimeError(f"an error in place of an answer: {bad[0]!r}")


async def measure(where: str, run: int, asked: argparse.Namespace) -> tuple[float, float]:
    """The worker's rate and the best client's."""
    async with endpoint(asked.latency_ms, asked.slots) as url:
        rate = await behind(url, Measurement.new(where, f"remote-{run}"), asked.requests, asked.slots)
        tried = [await direct(url, asked.requests, factor * asked.slots // 2) for factor in (1, 2, 4)]
        return rate, max(tried)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--latency-ms", type=float, default=250.0)
    parser.add_argument("--slots", type=int, default=32)
    asked = parser.parse_args()
    rates: dict[str, list[float]] = {"behind the queue": [], "the endpoint's best client": []}
    with LocalStack(StackConfig()) as stack:
        for run in range(asked.runs):
            found = asyncio.run(measure(stack.kafka.bootstrap_servers, run, asked))
            for measured, rate in zip(rates.values(), found, strict=True):
                measured.append(rate)
    report_two(f"{asked.requests} requests, {asked.slots} slots of {asked.latency_ms:g} ms", "answers/s", rates)


if __name__ == "__main__":
    main()
