"""What the pipeline itself can carry: a worker with an engine that takes no time, beside a bare echo consumer.

    python -m benchmarks.pipeline [--requests N] [--runs N]

Every run publishes the requests first, starts the process, and counts replies from the first to the last, once for the
worker and once for the echo (`benchmarks/echo.py`), in turn. The broker, the processes and the reader share this
machine's cores. Prints a table and the same as JSON.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from rich.console import Console
from rich.table import Table

from pelton.stack.process import ChildProcess
from pelton.stack.stack import LocalStack, StackConfig
from pipeline.settings import KafkaSettings
from workers.topics import ensure_topics

PARTITIONS = 12
PROMPT = "Summarise the liquidity section of this filing in two sentences. " * 8
READY_S = 60
REPLY_S = 120

INSTANT_ENGINE = {
    "PELTON_ENGINE__KIND": "simulated",
    "PELTON_ENGINE__SIMULATED__TTFT_MS": "0",
    "PELTON_ENGINE__SIMULATED__ITL_MS": "0",
    "PELTON_ENGINE__SIMULATED__ITL_MS_PER_ROW": "0",
}


@dataclass(frozen=True, slots=True)
class Round:
    """Topics of one measurement, so that none reads another's records."""

    kafka: KafkaSettings

    @classmethod
    def new(cls, bootstrap: str, name: str) -> "Round":
        topics = {"request_topics": (f"{name}-requests",), "reply_topic": f"{name}-replies"}
        return cls(
            KafkaSettings(
                bootstrap_servers=bootstrap, group_id=name, create_topics=True, partitions=PARTITIONS, **topics
            )
        )

    def worker(self) -> tuple[list[str], dict[str, str]]:
        environment = {
            **INSTANT_ENGINE,
            "PELTON_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "PELTON_KAFKA__GROUP_ID": self.kafka.group_id,
            "PELTON_KAFKA__REQUEST_TOPICS": orjson.dumps(self.kafka.request_topics).decode(),
            "PELTON_KAFKA__REPLY_TOPIC": self.kafka.reply_topic,
        }
        return [sys.executable, "-m", "pelton", "worker"], environment

    def echo(self) -> tuple[list[str], dict[str, str]]:
        topics = [self.kafka.bootstrap_servers, self.kafka.request_topics[0], self.kafka.reply_topic]
        return [sys.executable, "-m", "benchmarks.echo", *topics], {"PYTHONPATH": str(Path.cwd())}


async def replies_per_s(
    kafka: KafkaSettings, requests: int, command: Sequence[str], environment: dict[str, str]
) -> float:
    """Publish, start the process, and count replies per second between its first and its last."""
    await ensure_topics(kafka)
    await _publish(kafka, requests)
    reader = AIOKafkaConsumer(
        kafka.reply_topic, bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest"
    )
    async with reader, asyncio.timeout(REPLY_S):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            process = ChildProcess("The process", command, log_file=log, grace_s=40, environment=environment)
            try:
                return await _count(reader, requests)
            finally:
                await asyncio.to_thread(process.stop)


async def _publish(kafka: KafkaSettings, requests: int) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
        for index in range(requests):
            body = {"model": "default", "messages": [{"role": "user", "content": f"{index}: {PROMPT}"}]}
            headers = [("kafka_correlationId", str(index).encode())]
            await producer.send(kafka.request_topics[0], orjson.dumps(body), headers=headers)
        await producer.flush()


async def _count(reader: AIOKafkaConsumer, requests: int) -> float:
    first = started = 0
    seen = 0
    while seen < requests:
        seen += sum(map(len, (await reader.getmany(timeout_ms=1000)).values()))
        if seen and not started:
            first, started = seen, time.perf_counter_ns()
    return (seen - first) / ((time.perf_counter_ns() - started) / 1e9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    rates: dict[str, list[float]] = {"worker": [], "echo": []}
    with LocalStack(StackConfig()) as stack:
        for run in range(asked.runs):
            for name, measured in rates.items():
                this = Round.new(stack.kafka.bootstrap_servers, f"{name}-{run}")
                command, environment = this.worker() if name == "worker" else this.echo()
                measured.append(asyncio.run(replies_per_s(this.kafka, asked.requests, command, environment)))
    _report(asked.requests, rates)


def _report(requests: int, rates: dict[str, list[float]]) -> None:
    medians = {name: statistics.median(measured) for name, measured in rates.items()}
    ratio = medians["worker"] / medians["echo"]
    table = Table("process", "replies/s (median)", "runs", title=f"{requests} requests, {PARTITIONS} partitions")
    for name, measured in rates.items():
        table.add_row(name, f"{medians[name]:.0f}", " ".join(f"{rate:.0f}" for rate in measured))
    Console().print(table, f"worker / echo: {ratio:.2f}")
    print(orjson.dumps({"requests": requests, "replies_per_s": rates, "worker_over_echo": ratio}).decode())


if __name__ == "__main__":
    main()
