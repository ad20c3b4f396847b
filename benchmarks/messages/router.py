"""What the hop of the router in front of pools adds to the time of an answer.

    python -m benchmarks.messages.router [--asked N]

One broker, one router process that deals an experiment's requests to one pool, one worker with the simulated engine at
0 ms; one request at a time, by turns straight to the pool's topic and to the router's. Prints a table and the same as
JSON.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table

from benchmarks.support.common import GRACE_S, PARTITIONS, READY_S, WIDE, Measurement, body
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.client import InferenceClient
from pelton.stack.process import ChildProcess
from pelton.stack.stack import LocalStack, StackConfig
from pelton.workers.kafka.topics import ensure_topics

WARMING = 20
LIMIT_S = 180
DIRECT, ROUTED = "straight to the pool", "through the router"


def _pool(kafka: KafkaSettings) -> KafkaSettings:
    """The topics of the workers behind."""
    return kafka.model_copy(
        update={"request_topics": (f"{kafka.request_topics[0]}-pool",), "group_id": f"{kafka.group_id}-pool"}
    )


@asynccontextmanager
async def _router(kafka: KafkaSettings) -> AsyncIterator[None]:
    pool = _pool(kafka)
    routing = {
        "POOLS": {"m": {"topic": pool.request_topics[0], "group_id": pool.group_id}},
        "EXPERIMENTS": {"all": {"variants": {"now": {"model": "m", "weight": 1}}}},
        "DEFAULT": "all",
        "SHADOW_TOPIC": kafka.reply_topic,
    }
    environment = {
        "PELTON_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "PELTON_KAFKA__GROUP_ID": kafka.group_id,
        "PELTON_KAFKA__REQUEST_TOPICS": orjson.dumps(kafka.request_topics).decode(),
        "PELTON_KAFKA__REPLY_TOPIC": kafka.reply_topic,
        **{f"PELTON_ROUTING__{name}": _text(value) for name, value in routing.items()},
    }
    with tempfile.TemporaryDirectory() as folder:
        said, command = Path(folder) / "log", [sys.executable, "-P", "-m", "pelton", "ab", "route"]
        process = ChildProcess("The router", command, log_file=said, grace_s=GRACE_S, environment=environment)
        try:
            await asyncio.to_thread(process.wait_ready, lambda: _has_partitions(said), READY_S)
            yield
            process.check()
        finally:
            await asyncio.to_thread(process.stop)


def _has_partitions(said: Path) -> bool:
    return "partitions of" in said.read_text()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


async def latencies_ms(bootstrap: str, asked: int) -> dict[str, list[float]]:
    this = Measurement.new(bootstrap, "hop")
    pool = Measurement(_pool(this.kafka))
    await ensure_topics(this.kafka)
    await ensure_topics(pool.kafka)
    found: dict[str, list[float]] = {DIRECT: [], ROUTED: []}
    async with (
        pool.worker(PELTON_CACHE__ENABLED="false"),
        _router(this.kafka),
        InferenceClient(pool.kafka) as direct,
        InferenceClient(this.kafka) as routed,
    ):
        for index in range(WARMING + asked):
            for way, client in ((DIRECT, direct), (ROUTED, routed)):
                began = time.perf_counter()
                await client.request(body(index), timeout_s=LIMIT_S)
                if index >= WARMING:
                    found[way].append((time.perf_counter() - began) * 1e3)
    return found


async def measure(bootstrap: str, asked: int) -> dict[str, Any]:
    ways = {way: statistics.quantiles(took, n=20) for way, took in (await latencies_ms(bootstrap, asked)).items()}
    return {"asked": asked, "latency_ms": {way: {"p50": cuts[9], "p95": cuts[18]} for way, cuts in ways.items()}}


def report(found: dict[str, Any]) -> None:
    title = f"{found['asked']:,} requests of 560 bytes each way, one at a time, {PARTITIONS} partitions"
    table = Table("", "p50 ms", "p95 ms", title=title)
    for way, cuts in found["latency_ms"].items():
        table.add_row(way, f"{cuts['p50']:.1f}", f"{cuts['p95']:.1f}")
    WIDE.print(table)
    print(orjson.dumps(found).decode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asked", type=int, default=300)
    asked = parser.parse_args()
    with LocalStack(StackConfig()) as stack:
        found = asyncio.run(measure(stack.kafka.bootstrap_servers, asked.asked))
    report(found)


if __name__ == "__main__":
    main()
