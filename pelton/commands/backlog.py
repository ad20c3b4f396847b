"""`pelton backlog`: what waits, and how long it will take."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
import typer
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from rich import box
from rich.console import Console
from rich.table import Table

from pelton.commands.common import (
    Config,
    Exit,
    clear_errors,
    fail,
    quiet_libraries,
    run_async,
    run_service,
    say,
    stderr,
)
from pelton.commands.shared.duration import duration
from pelton.commands.shared.tables import folding_table
from pelton.pipeline.offsets import BadMetadata
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.loading import load_settings
from pelton.pipeline.sparse_log import SparseLog
from pelton.producers.errors import ProducerError
from pelton.producers.kafka.backlog import BacklogReader, Speed, TopicBacklog

FIRST_LOOK_S = 3.0
"""Between the two looks that a speed is measured by."""


class BacklogMetrics:
    """What `--serve` shows, by topic."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Gauge(
            "pelton_topic_backlog_requests", "Requests that are not answered.", ["topic"], registry=self.registry
        )
        self.speed = Gauge(
            "pelton_topic_answered_per_second",
            "Requests answered a second, over the last minute.",
            ["topic"],
            registry=self.registry,
        )

    def show(self, rows: Sequence["Row"]) -> None:
        for row in rows:
            self.requests.labels(row.topic).set(row.waiting)
            self.speed.labels(row.topic).set(row.per_second or 0.0)

    def clear(self) -> None:
        """Nothing is known for now."""
        self.requests.clear()
        self.speed.clear()


@dataclass(frozen=True, slots=True)
class Row:
    topic: str
    waiting: int
    per_second: float | None

    @property
    def seconds(self) -> float | None:
        """None while nobody answers."""
        if not self.waiting:
            return 0.0
        return self.waiting / self.per_second if self.per_second else None

    def as_json(self) -> dict[str, Any]:
        return {
            "topic": self.topic, "requests": self.waiting, "per_second": self.per_second, "seconds": self.seconds
        }  # fmt: skip


def backlog(
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print JSON on stdout.")] = False,
    serve: Annotated[
        int | None, typer.Option(min=1, max=65_535, metavar="PORT", help="Serve it to Prometheus until interrupted.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to serve it on.")] = "127.0.0.1",
    interval: Annotated[float, typer.Option(min=0.5, help="Seconds between looks, with --serve.")] = 5.0,
    config: Config = None,
) -> None:
    """Show how many requests are not answered, and how long they take.

    It is counted from what the workers have committed, so it is there while
    no worker runs: scale from zero by it. The speed is what was answered
    between two looks.

    Exit codes: 0 shown, or with --serve told to stop; 2 bad arguments or
    settings, or no Kafka; 130 interrupted.
    """
    with clear_errors():
        kafka = load_settings(config).kafka
    quiet_libraries()
    if serve is not None:
        port = serve
        with clear_errors(until_stopped=True):
            run_service(lambda: _serve(kafka, host, port, interval))
        return
    with stderr.status(f"Looking twice, {FIRST_LOOK_S:.0f} s apart ..."):
        rows = run_async(_look_twice(kafka))
    if as_json:
        say(orjson.dumps([row.as_json() for row in rows]))
    else:
        Console().print(_table(rows))


async def _look_twice(kafka: KafkaSettings) -> list[Row]:
    reader, speeds = BacklogReader(kafka), {topic: Speed() for topic in kafka.request_topics}
    await reader.start()
    try:
        _rows(await reader.read(), speeds)
        await asyncio.sleep(FIRST_LOOK_S)
        return _rows(await reader.read(), speeds)
    finally:
        await reader.close()


def _rows(found: Sequence[TopicBacklog], speeds: dict[str, Speed]) -> list[Row]:
    return [Row(each.topic, each.waiting, speeds[each.topic].note(each.answered)) for each in found]


def _table(rows: Sequence[Row]) -> Table:
    table = folding_table("topic", figures=("not answered", "answered a second", "time left"), box=box.SIMPLE_HEAD)
    for row in rows:
        speed = "none" if row.per_second is None else f"{row.per_second:,.1f}"
        left = "unknown" if row.seconds is None else duration(row.seconds)
        table.add_row(row.topic, f"{row.waiting:,}", speed, left)
    return table


async def _serve(kafka: KafkaSettings, host: str, port: int, interval_s: float) -> None:
    metrics, reader = BacklogMetrics(), BacklogReader(kafka)
    try:
        start_http_server(port, host, metrics.registry)
    except OSError as error:
        fail(f"--serve: port {port} of {host} cannot be listened on: {error.strerror}.", Exit.UNUSABLE)
    await reader.start()
    say(f"Serving http://{host}:{port}/metrics; Ctrl-C ends it.")
    try:
        await keep_metrics(metrics, reader.read, {topic: Speed() for topic in kafka.request_topics}, interval_s)
    finally:
        await reader.close()


async def keep_metrics(
    metrics: BacklogMetrics, read: Callable[[], Awaitable[list[TopicBacklog]]], speeds: dict[str, Speed], every_s: float
) -> None:
    """Keep them true, for ever; while Kafka is away they are gone, as old ones would mislead a scaler.

    That is said when it begins, once a minute, and when it is over.
    """
    trouble: SparseLog | None = None
    while True:
        try:
            metrics.show(_rows(await read(), speeds))
        except (ProducerError, BadMetadata) as error:
            metrics.clear()
            trouble = trouble or SparseLog()
            if trouble.due():
                _tell(str(error))
        else:
            if trouble is not None:
                _tell("The backlog can be read again.")
            trouble = None
        await asyncio.sleep(every_s)


def _tell(text: str) -> None:
    stderr.print(text, markup=False, highlight=False, soft_wrap=True)
