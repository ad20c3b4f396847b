"""What exactly-once delivery costs beside at-least-once, and how quickly a dead worker's partitions are served again.

    python -m benchmarks.delivery [--requests N] [--runs N] [--seconds N]

Twelve partitions, the simulated engine. In turn for both deliveries: replies per second of a saturated worker; then 500
requests/s for some seconds, with the time from a reply's end of generation to a `read_committed` reader having it (an
upper bound of finished-to-committed). Then a take-over: of two workers one is killed; the time runs from the survivor's
assignment to the first reply it commits for a partition of the dead one. Prints tables and JSON.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from rich.console import Console
from rich.table import Table

from benchmarks.support.common import PARTITIONS, Measurement, body, publish, replies_per_s
from pelton.stack.stack import LocalStack, StackConfig
from pelton.workers.kafka.topics import ensure_topics

DELIVERIES = ("exactly_once", "at_least_once")
RATE = 500
REPLIES_S = 120
DELIVERY = "PELTON_KAFKA__DELIVERY"


async def saturated(this: Measurement, delivery: str, requests: int) -> float:
    """Replies per second when the requests are all there before the worker starts."""
    await ensure_topics(this.kafka)
    await publish(this.kafka, range(requests))
    async with this.reader() as reader, asyncio.timeout(REPLIES_S), this.worker(**{DELIVERY: delivery}):
        return await replies_per_s(reader, requests)


async def steady(this: Measurement, delivery: str, seconds: int) -> dict[str, float]:
    """Replies per second and finished-to-committed percentiles at a rate the worker can hold."""
    await ensure_topics(this.kafka)
    async with this.reader() as reader, this.worker(**{DELIVERY: delivery}):
        sending = asyncio.create_task(_send_steadily(this, seconds))
        started = time.monotonic()
        delays: list[float] = []
        async with asyncio.timeout(REPLIES_S):
            while len(delays) < RATE * seconds:
                for records in (await reader.getmany(timeout_ms=200)).values():
                    now_ms = time.time() * 1000
                    delays.extend(_since_finished_ms(record, now_ms) for record in records)
        await sending
    rate = len(delays) / (time.monotonic() - started)
    return {
        "replies_per_s": rate,
        "p50_ms": statistics.median(delays),
        "p99_ms": statistics.quantiles(delays, n=100)[98],
    }


async def take_over(this: Measurement) -> float:
    """Seconds from the survivor's assignment to its first commit for a partition it took over."""
    await ensure_topics(this.kafka)
    async with this.reader() as reader, this.worker() as (doomed, _), this.worker() as (_, log):
        sending = asyncio.create_task(_send_steadily(this, 15))
        owners = await _owners(reader, replies=RATE)
        await asyncio.to_thread(doomed.kill)
        seen = log.read_text().count("assigned")
        async with asyncio.timeout(REPLIES_S):
            while True:
                records = [each for some in (await reader.getmany(timeout_ms=50)).values() for each in some]
                if log.read_text().count("assigned") > seen and any(
                    _is_taken_over(record, owners) for record in records
                ):
                    sending.cancel()
                    return time.time() - _last_assignment(log)


async def _send_steadily(this: Measurement, seconds: int) -> None:
    async with AIOKafkaProducer(bootstrap_servers=this.kafka.bootstrap_servers) as producer:
        started = time.monotonic()
        for index in range(RATE * seconds):
            await asyncio.sleep(max(0.0, started + index / RATE - time.monotonic()))
            headers = [("kafka_correlationId", str(index).encode())]
            await producer.send(this.kafka.request_topics[0], body(index), headers=headers)
        await producer.flush()


async def _owners(reader: AIOKafkaConsumer, replies: int) -> dict[str, str]:
    """Which worker answers which request partition, seen over some replies."""
    seen: dict[str, str] = {}
    count = 0
    while count < replies:
        for records in (await reader.getmany(timeout_ms=200)).values():
            count += len(records)
            seen.update({_partition(record): _header(record, "pelton-worker") for record in records})
    return seen


def _is_taken_over(record: Any, owners: Mapping[str, str]) -> bool:
    partition = _partition(record)
    return partition in owners and owners[partition] != _header(record, "pelton-worker")


def _since_finished_ms(record: Any, now_ms: float) -> float:
    """The record's own timestamp is the moment it was handed to the producer; before that it waited for its flush."""
    handed_over_ms: float = record.timestamp
    return now_ms - handed_over_ms + float(_header(record, "pelton-publish-ms"))


def _header(record: Any, name: str) -> str:
    return str(dict(record.headers)[name].decode())


def _partition(record: Any) -> str:
    return _header(record, "pelton-source").rsplit("-", 1)[0]


def _last_assignment(log: Path) -> float:
    """The log's clock has milliseconds."""
    line = [line for line in log.read_text().splitlines() if "assigned" in line][-1]
    moment: datetime = datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").astimezone()
    return moment.timestamp()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8)
    asked = parser.parse_args()
    full: dict[str, list[float]] = {delivery: [] for delivery in DELIVERIES}
    paced: dict[str, list[dict[str, float]]] = {delivery: [] for delivery in DELIVERIES}
    with LocalStack(StackConfig()) as stack:
        where = stack.kafka.bootstrap_servers
        for run in range(asked.runs):
            for delivery in DELIVERIES:
                this = Measurement.new(where, f"full-{delivery}-{run}")
                full[delivery].append(asyncio.run(saturated(this, delivery, asked.requests)))
                this = Measurement.new(where, f"paced-{delivery}-{run}")
                paced[delivery].append(asyncio.run(steady(this, delivery, asked.seconds)))
        taken = [asyncio.run(take_over(Measurement.new(where, f"take-over-{run}"))) for run in range(asked.runs)]
    _report(full, paced, taken)


def _report(full: dict[str, list[float]], paced: dict[str, list[dict[str, float]]], taken: Sequence[float]) -> None:
    def middle(delivery: str, figure: str) -> float:
        return statistics.median(measured[figure] for measured in paced[delivery])

    table = Table("delivery", "saturated: replies/s", f"at {RATE}/s: replies/s", "finished to committed p50", "p99")
    for delivery in DELIVERIES:
        cells = [
            statistics.median(full[delivery]),
            *(middle(delivery, f) for f in ("replies_per_s", "p50_ms", "p99_ms")),
        ]
        table.add_row(delivery, f"{cells[0]:.0f}", f"{cells[1]:.0f}", f"{cells[2]:.0f} ms", f"{cells[3]:.0f} ms")
    ratio = statistics.median(full["exactly_once"]) / statistics.median(full["at_least_once"])
    steady_ratio = middle("exactly_once", "replies_per_s") / middle("at_least_once", "replies_per_s")
    Console().print(table, f"{PARTITIONS} partitions; medians. Exactly once / at least once: {ratio:.2f} saturated,")
    Console().print(
        f"{steady_ratio:.2f} at {RATE}/s. Take-over to first commit: {statistics.median(taken) * 1000:.0f} ms."
    )
    result = {"saturated": full, "steady": paced, "take_over_s": taken, "ratio": ratio, "steady_ratio": steady_ratio}
    print(orjson.dumps(result).decode())


if __name__ == "__main__":
    main()
