"""What the benchmarks over a real broker share: topics of a measurement's own, processes, and counting replies."""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from rich.console import Console
from rich.table import Table

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.stack.process import ChildProcess

PARTITIONS = 12
PROMPT = "Summarise the liquidity section of this filing in two sentences. " * 8
READY_S = 60
GRACE_S = 40
EMPTY_FETCH_MS = 5_000
"""How long the broker holds a reader's fetch that finds nothing: what is measured shares the cores with both."""

WIDE = Console(width=140)
"""For tables that would not be read in the 80 columns of a pipe."""

INSTANT_ENGINE = {
    "PELTON_ENGINE__KIND": "simulated",
    "PELTON_ENGINE__SIMULATED__TTFT_MS": "0",
    "PELTON_ENGINE__SIMULATED__ITL_MS": "0",
    "PELTON_ENGINE__SIMULATED__ITL_MS_PER_ROW": "0",
}


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement's topics and group, so that none reads another's records."""

    kafka: KafkaSettings

    @classmethod
    def new(cls, bootstrap: str, name: str) -> "Measurement":
        return cls(
            KafkaSettings(
                bootstrap_servers=bootstrap,
                group_id=name,
                request_topics=(f"{name}-requests",),
                reply_topic=f"{name}-replies",
                create_topics=True,
                partitions=PARTITIONS,
                session_timeout_ms=6_000,
            )
        )

    @asynccontextmanager
    async def worker(self, **settings: str) -> AsyncIterator[tuple[ChildProcess, Path]]:
        """A worker process, ready, and its log; drained at the end."""
        with tempfile.TemporaryDirectory() as folder:
            ready = Path(folder) / "ready"
            environment = {
                **INSTANT_ENGINE,
                "PELTON_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
                "PELTON_KAFKA__GROUP_ID": self.kafka.group_id,
                "PELTON_KAFKA__REQUEST_TOPICS": orjson.dumps(self.kafka.request_topics).decode(),
                "PELTON_KAFKA__REPLY_TOPIC": self.kafka.reply_topic,
                "PELTON_KAFKA__SESSION_TIMEOUT_MS": str(self.kafka.session_timeout_ms),
                "PELTON_WORKER__READY_FILE": str(ready),
                **settings,
            }
            log = Path(folder) / "log"
            command = [sys.executable, "-P", "-m", "pelton", "worker"]
            process = ChildProcess("The worker", command, log_file=log, grace_s=GRACE_S, environment=environment)
            try:
                await asyncio.to_thread(process.wait_ready, ready.exists, READY_S)
                yield process, log
            finally:
                await asyncio.to_thread(process.stop)

    @asynccontextmanager
    async def echo(self) -> AsyncIterator[None]:
        """The bare consumer of `benchmarks/support/bare_consumer.py`."""
        topics = [self.kafka.bootstrap_servers, self.kafka.request_topics[0], self.kafka.reply_topic]
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(Path(__file__).with_name("bare_consumer.py")), *topics]
            process = ChildProcess("The echo", command, log_file=Path(folder) / "log", grace_s=GRACE_S)
            try:
                yield
            finally:
                await asyncio.to_thread(process.stop)

    def reader(self) -> AIOKafkaConsumer:
        """Of the replies that are committed."""
        return AIOKafkaConsumer(
            self.kafka.reply_topic,
            bootstrap_servers=self.kafka.bootstrap_servers,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=EMPTY_FETCH_MS,
            consumer_timeout_ms=EMPTY_FETCH_MS,
        )


def body(index: int) -> bytes:
    return orjson.dumps({"model": "default", "messages": [{"role": "user", "content": f"{index}: {PROMPT}"}]})


async def publish(kafka: KafkaSettings, indexes: Sequence[int]) -> None:
    """Send requests as fast as the broker takes them."""
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
        for index in indexes:
            headers = [("kafka_correlationId", str(index).encode())]
            await producer.send(kafka.request_topics[0], body(index), headers=headers)
        await producer.flush()


async def replies_per_s(reader: AIOKafkaConsumer, requests: int) -> float:
    """Count replies from the first to the last."""
    first = started = seen = 0
    while seen < requests:
        seen += sum(map(len, (await reader.getmany(timeout_ms=1000)).values()))
        if seen and not started:
            first, started = seen, time.perf_counter_ns()
    return (seen - first) / ((time.perf_counter_ns() - started) / 1e9)


def report_two(title: str, unit: str, rates: Mapping[str, Sequence[float]]) -> None:
    """Print the medians of two rates and the first as a share of the second: a table, and the same as JSON."""
    medians = {name: statistics.median(measured) for name, measured in rates.items()}
    first, second = medians
    share = medians[first] / medians[second]
    table = Table("", f"{unit} (median)", "runs", title=title)
    for name, measured in rates.items():
        table.add_row(name, f"{medians[name]:.1f}", " ".join(f"{rate:.1f}" for rate in measured))
    Console().print(table, f"{first} / {second}: {share:.3f}")
    print(orjson.dumps({"title": title, "unit": unit, "rates": rates, "share": share}).decode())
