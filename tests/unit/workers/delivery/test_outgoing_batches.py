"""Sending what one commit holds: all of it is handed over, in order, and all faults are known before one is raised."""

import asyncio

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record import MemoryRecords

from pelton.pipeline.wire.records import OutgoingRecord
from pelton.workers.delivery.outgoing_batches import BATCH_BYTES, RecordsTooLarge, acknowledged

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


class BatchProducer(Producer):
    """Takes batches as well, of so many bytes, and knows what was in them; those to a partition of `failing` fail."""

    def __init__(self, batch_bytes=BATCH_BYTES, failing=()):
        super().__init__()
        self.batch_bytes = batch_bytes
        self.failing = dict(failing)
        self.batches = []

    def create_batch(self):
        return BatchBuilder(self.batch_bytes, 0)

    async def send(self, _topic, value, *_address, **_headers):
        self.sent.append(value)
        return self.acknowledged(None)

    async def send_batch(self, batch, topic, *, partition):
        assert batch.closed()
        values = [record.value for record in MemoryRecords(bytes(batch._build())).next_batch()]
        self.batches.append((topic, partition, values))
        return self.acknowledged(partition)

    def acknowledged(self, partition):
        future = asyncio.get_running_loop().create_future()
        if (error := self.failing.get(partition)) is not None:
            future.set_exception(error)
        else:
            future.set_result(None)
        return future


def to(partition, value):
    return OutgoingRecord("replies", value, b"key", [("a", b"1"), ("b", None)], partition)


async def test_what_goes_to_one_partition_goes_together():
    """In its order; what has no partition yet, or is larger than a batch, goes by itself."""
    producer, large = BatchProducer(), b"x" * BATCH_BYTES
    await acknowledged(
        producer, [to(0, b"one"), to(1, b"two"), to(None, b"letter"), to(0, b"three"), to(0, large), to(0, b"four")]
    )
    assert sorted(producer.batches) == [("replies", 0, [b"one", b"three", b"four"]), ("replies", 1, [b"two"])]
    assert producer.sent == [b"letter", large]


@pytest.mark.parametrize("batch_bytes", [1, 300])
async def test_a_full_batch_is_followed_by_another(batch_bytes):
    """Nothing is lost between them. With room for one byte, each record is alone in its batch."""
    producer = BatchProducer(batch_bytes)
    values = [str(number).encode() * 50 for number in range(20)]
    await acknowledged(producer, [to(0, value) for value in values])
    assert [value for *_, some in producer.batches for value in some] == values
    assert len(producer.batches) > 1
    assert batch_bytes > 1 or all(len(some) == 1 for *_, some in producer.batches)


async def test_a_batch_that_is_refused_names_all_that_is_in_it():
    """Kafka refuses batches: which of the records is too large is found out with one in each."""
    records = [to(0, b"one"), to(1, b"two"), to(0, b"three")]
    with pytest.raises(RecordsTooLarge) as raised:
        await acknowledged(BatchProducer(failing={0: MessageSizeTooLargeError()}), records)
    assert list(raised.value.records) == [records[0], records[2]]
