"""What the backlog's exporter shows and says while Kafka is away."""

import asyncio

import pytest

from pelton.commands.backlog import BacklogMetrics, keep_metrics
from pelton.producers.errors import BrokerUnreachable
from pelton.producers.kafka.backlog import Speed, TopicBacklog

NAME = "pelton_topic_backlog_requests"


async def test_old_figures_are_gone_and_it_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A scaler that finds nothing does nothing; whoever reads the log finds the beginning and the end."""
    metrics, shown = BacklogMetrics(), []
    looks = iter([TopicBacklog("t", 5, 0), *[None] * 4, TopicBacklog("t", 3, 2)])
    over = asyncio.Event()

    async def read() -> list[TopicBacklog]:
        shown.append(metrics.registry.get_sample_value(NAME, {"topic": "t"}))
        try:
            found = next(looks)
        except StopIteration:
            over.set()
            await asyncio.Event().wait()
        if found is None:
            raise BrokerUnreachable("Kafka is away.")
        return [found]

    task = asyncio.create_task(keep_metrics(metrics, read, {"t": Speed()}, 0.0))
    await asyncio.wait_for(over.wait(), 10)
    task.cancel()
    assert shown == [None, 5.0, None, None, None, None, 3.0]
    assert capsys.readouterr().err.splitlines() == ["Kafka is away.", "The backlog can be read again."]
