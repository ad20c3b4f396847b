"""Sending what one commit holds: all of it is handed over, in order, and all faults are known before one is raised."""

import asyncio

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError

from pelton.pipeline.wire.records import OutgoingRecord
from pelton.workers.delivery.transactions import RecordsTooLarge, acknowledged

RECORDS = [OutgoingRecord("replies", str(number).encode(), b"key", ()) for number in range(5)]


class Producer:
    """Takes records; `refused` fail at once, `failing` when they are acknowledged, which `answer` has them all be."""

    def __init__(self, refused=(), failing=()):
        self.refused = dict(refused)
        self.failing = dict(failing)
        self.sent = []
        self.futures = []
        self.asked = asyncio.Event()

    async def send(self, _topic, value, *_address, **_headers):
        if int(value) == len(RECORDS) - 1:
            self.asked.set()
        if (error := self.refused.get(int(value))) is not None:
            raise error
        self.sent.append(int(value))
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]

    def answer(self):
        for number, future in zip(self.sent, self.futures, strict=True):
            if (error := self.failing.get(number)) is not None:
                future.set_exception(error)
            elif not future.done():
                future.set_result(None)


async def settled(producer):
    """What sending all records came to, once all that were taken are acknowledged."""
    sending = asyncio.ensure_future(acknowledged(producer, RECORDS))
    await producer.asked.wait()
    producer.answer()
    await sending


async def test_all_are_sent_in_order_before_any_is_waited_for():
    producer = Producer()
    await settled(producer)
    assert producer.sent == [0, 1, 2, 3, 4]


async def test_all_that_are_too_large_are_named():
    """Those that are refused at once and those that the broker refuses; the others' faults come after them."""
    too_large = MessageSizeTooLargeError()
    producer = Producer({1: too_large}, {0: KafkaTimeoutError(), 3: too_large})
    with pytest.raises(RecordsTooLarge) as raised:
        await settled(producer)
    assert list(raised.value.records) == [RECORDS[1], RECORDS[3]]


async def test_a_fault_is_raised_when_all_are_settled():
    producer = Producer(failing={2: KafkaTimeoutError()})
    with pytest.raises(KafkaTimeoutError):
        await settled(producer)
    assert all(future.done() for future in producer.futures)


async def test_who_gives_up_leaves_nothing_to_be_complained_of():
    """What is not acknowledged by then is cancelled: an error that came later would be nobody's."""
    producer = Producer()
    sending = asyncio.ensure_future(acknowledged(producer, RECORDS))
    await producer.asked.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert all(future.cancelled() for future in producer.futures)
