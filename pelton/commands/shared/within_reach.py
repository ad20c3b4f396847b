"""What serves begins when Kafka answers, and says little of one that goes away."""

from collections.abc import Callable, Coroutine
from typing import Any

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.kafka.cluster import look_up
from pelton.workers.kafka.broker_wait import client_unheard
from pelton.workers.kafka.outage import one_voice


async def within_reach(kafka: KafkaSettings, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Raises `BrokerUnreachable`, which is one line in place of the client's many, and what `serve` raises."""
    with client_unheard():
        await look_up(kafka)
    async with one_voice(kafka, lambda _: None):
        await serve()
