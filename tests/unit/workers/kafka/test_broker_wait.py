"""A broker that is away is waited for; what would be refused again is not."""

import asyncio
import logging
import ssl

import pytest
from aiokafka.errors import KafkaConnectionError

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.workers.kafka import broker_wait
from pelton.workers.kafka.broker_wait import KafkaUnusable, wait_for_broker

KAFKA = KafkaSettings(bootstrap_servers="broker:9093")
client = logging.getLogger("aiokafka.client")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(broker_wait, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(broker_wait, "RETRY_MAX_S", 0.001)


def failing(cause: Exception, times: int):
    left = [times]

    async def attempt() -> None:
        if left[0]:
            left[0] -= 1
            client.error("Unable connect: %s", cause)
            raise KafkaConnectionError("Unable to bootstrap")

    return attempt


async def never() -> None:
    await asyncio.Event().wait()


async def test_it_is_said_once_that_it_is_away_and_once_that_it_is_there(caplog):
    """Not for each attempt, and in our words instead of the client's."""
    caplog.set_level(logging.WARNING, "aiokafka")
    caplog.set_level(logging.INFO, "pelton")
    assert await wait_for_broker(KAFKA, failing(ConnectionRefusedError(111, "refused"), 5), never)
    away, there = (record.getMessage() for record in caplog.records if record.name.startswith("pelton"))
    assert "refused" in away
    assert "PELTON_KAFKA__BOOTSTRAP_SERVERS" in away
    assert "broker:9093 is there" in there
    assert not [record for record in caplog.records if record.name.startswith("aiokafka")]
    assert logging.getLogger("aiokafka").propagate


async def test_the_clients_own_lines_are_shown_where_asked_for(caplog):
    """With `--verbose`, which lets INFO of libraries through."""
    caplog.set_level(logging.INFO)
    assert await wait_for_broker(KAFKA, failing(ConnectionRefusedError(111, "refused"), 2), never)
    assert len([record for record in caplog.records if record.name == "aiokafka.client"]) == 2


async def test_a_long_wait_is_said_again(caplog):
    """Once in each time between reminders."""
    assert await wait_for_broker(KAFKA, failing(TimeoutError(), 4), never, remind_s=0)
    assert sum("waiting for Kafka" in record.getMessage() for record in caplog.records) == 4


async def test_a_broker_that_is_there_costs_no_word(caplog):
    """The ordinary start."""
    caplog.set_level(logging.INFO)
    assert await wait_for_broker(KAFKA, failing(TimeoutError(), 0), never)
    assert not caplog.records


@pytest.mark.parametrize("cause", [ssl.SSLError(1, "wrong version number"), OSError("Connection at broker closed")])
async def test_what_does_not_pass_ends_the_wait(cause):
    """A wrong protocol stays wrong."""
    with pytest.raises(KafkaUnusable, match=r"kafka\.security_protocol"):
        await wait_for_broker(KAFKA, failing(cause, 100), never)


async def test_one_closed_connection_may_be_chance():
    """So ends a connection to a broker that is going down."""
    assert await wait_for_broker(KAFKA, failing(OSError("Connection at broker closed"), 2), never)


async def test_a_stop_ends_the_wait_and_the_attempt():
    """Also while an attempt hangs."""
    stop, ended = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        stop.set()
        try:
            await never()
        finally:
            ended.set()

    assert not await wait_for_broker(KAFKA, hang, stop.wait)
    assert ended.is_set()
