"""No connection stays open behind a Kafka client that was given up, in whatever state it was."""

import asyncio
import weakref
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError

from pelton.pipeline.kafka.clients import close_client, start_client, stop_consumer, stop_producer
from pelton.stack.ports import free_port


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> weakref.WeakSet[AIOKafkaConnection]:
    """All that are opened in the test."""
    opened: weakref.WeakSet[AIOKafkaConnection] = weakref.WeakSet()
    connect = AIOKafkaConnection.connect

    async def noted(connection: Any) -> Any:
        opened.add(connection)
        return await connect(connection)

    monkeypatch.setattr(AIOKafkaConnection, "connect", noted)
    return opened


@pytest.mark.parametrize("turns", [0, 1, 2, 4, 8, 16, 32])
async def test_a_fenced_producer(place, kafka_bootstrap, connections, turns):
    """Stopped so many turns of the loop after its sends: before, while and after they are refused."""
    at = await place()
    first, second = (
        AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, transactional_id=f"fenced-{at.requests}") for _ in range(2)
    )
    await start_client(first)
    await first.begin_transaction()
    await start_client(second)
    for topic in (at.requests, at.replies):
        await first.partitions_for(topic)
    sending = [asyncio.create_task(first.send_and_wait(topic, b"no one's")) for topic in (at.requests, at.replies)]
    for _ in range(turns):
        await asyncio.sleep(0)
    await stop_producer(first, 5.0)
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(*sending, return_exceptions=True)
    await stop_producer(second, 5.0)
    assert not [each for each in connections if each.connected()]
    assert all(isinstance(outcome, BaseException) for outcome in outcomes)


@pytest.mark.parametrize("client", [AIOKafkaProducer, AIOKafkaConsumer, AIOKafkaAdminClient])
@pytest.mark.parametrize("turns", [1, 2, 4, 8, 16])
async def test_a_start_that_is_cancelled(kafka_bootstrap, connections, client, turns):
    """Its connection is closed with the client, however far the start had come."""
    made = client(bootstrap_servers=kafka_bootstrap)
    starting = asyncio.create_task(start_client(made))
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait([starting])
    await (made.close() if client is AIOKafkaAdminClient else made.stop())
    assert not [each for each in connections if each.connected()]


async def test_a_start_that_fails(connections):
    """There is nobody: the error is the client's own."""
    producer = AIOKafkaProducer(bootstrap_servers=f"127.0.0.1:{free_port()}")
    with pytest.raises(KafkaConnectionError):
        await start_client(producer)
    assert await stop_producer(producer, 5.0) is None
    assert not [each for each in connections if each.connected()]


@pytest.mark.parametrize(
    ("client", "stop"),
    [(AIOKafkaProducer, stop_producer), (AIOKafkaConsumer, stop_consumer), (AIOKafkaAdminClient, close_client)],
)
@pytest.mark.parametrize("turns", [1, 2, 3, 4, 6, 8])
async def test_a_stop_that_is_cancelled(kafka_bootstrap, connections, client, stop, turns):
    """However far it had come, its connections are closed, and who was cancelled hears of it: once is enough."""
    made = client(bootstrap_servers=kafka_bootstrap)
    await start_client(made)
    stopping = asyncio.create_task(stop(made))
    for _ in range(turns):
        await asyncio.sleep(0)
    in_time = stopping.cancel()
    await asyncio.wait([stopping], timeout=5)
    assert stopping.cancelled() is in_time
    assert not [each for each in connections if each.connected()]


@pytest.mark.parametrize("stop", [stop_producer, stop_consumer])
async def test_a_stop_that_takes_too_long(kafka_bootstrap, connections, monkeypatch, stop):
    """It is given up in time, and its connections are closed all the same."""
    made = (AIOKafkaProducer if stop is stop_producer else AIOKafkaConsumer)(bootstrap_servers=kafka_bootstrap)
    await start_client(made)
    with monkeypatch.context() as patch:
        patch.setattr(made, "stop", asyncio.Event().wait)
        async with asyncio.timeout(5):
            assert isinstance(await stop(made, 0.1), TimeoutError)
    assert not [each for each in connections if each.connected()]
    await made.stop()
