"""Replies whose topic is gone: to the default topic, or else to the dead letters, and never nowhere."""

import time

import orjson
import pytest
from aiokafka.errors import KafkaConnectionError

from pelton.pipeline.errors import DeadlineExceeded
from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire.headers import ReplyPolicy, read_envelope
from pelton.pipeline.wire.records import OutgoingRecord, RequestRecord, Source
from pelton.workers.delivery.redirects import Redirects
from pelton.workers.requests import Delivery, Failed, OutgoingReply

SOURCE = Source("inference.requests", 5, 17)


class Directory:
    """The topics there are."""

    def __init__(self, **topics: int) -> None:
        self.topics = {name.replace("_", "."): count for name, count in topics.items()}
        self.away = False

    async def partitions(self, topic: str, *, fresh: bool = False) -> int | None:
        assert fresh, "what was known is what is in doubt"
        if self.away:
            raise KafkaConnectionError("away")
        return self.topics.get(topic)


def reply(topic: str, partition: int | None = None) -> OutgoingReply:
    record = RequestRecord(SOURCE, None, b"body", (), 0, 0)
    delivery = Delivery(
        record, read_envelope(SOURCE, (), ReplyPolicy("replies")), OffsetTracker(), time.monotonic(), 0.0
    )
    sent = OutgoingRecord(topic, b"answer", b"id", (), partition, OutgoingRecord(topic, b"small", b"id", (), partition))
    return OutgoingReply(Failed(delivery, DeadlineExceeded("late.")), (sent,))


async def around(directory: Directory, one: OutgoingReply) -> OutgoingReply:
    (found,) = await Redirects(KafkaSettings(), directory).around_missing([one])  # type: ignore[arg-type]
    return found


async def test_what_has_its_place_is_left_alone() -> None:
    one = reply("own", 2)
    assert await around(Directory(own=3, inference_replies=12), one) is one


@pytest.mark.parametrize(
    ("directory", "place"),
    [
        (Directory(inference_replies=4), ("inference.replies", 1)),
        (Directory(own=2, inference_replies=4), ("own", 1)),
    ],
    ids=["topic gone", "partition gone"],
)
async def test_a_reply_without_a_place_has_another(directory: Directory, place: tuple[str, int]) -> None:
    """With its smaller form, which would be sent to the same place."""
    (record,) = (await around(directory, reply("own", 9))).records
    assert (record.topic, record.partition, record.value) == (*place, b"answer")
    assert record.fallback is not None
    assert (record.fallback.topic, record.fallback.partition) == place


async def test_without_any_reply_topic_the_request_is_a_dead_letter() -> None:
    (record,) = (await around(Directory(), reply("own", 0))).records
    assert (record.topic, record.value) == ("inference.requests-dlt", b"body")


async def test_a_broker_that_is_away_moves_nothing() -> None:
    directory = Directory()
    directory.away = True
    one = reply("own")
    assert await around(directory, one) is one


def test_the_last_resort_has_id_error_and_bytes() -> None:
    redirects = Redirects(KafkaSettings(), Directory())  # type: ignore[arg-type]
    record, letter = redirects.last_resort(reply("own"), ValueError("odd")).records
    assert (record.topic, orjson.loads(record.value or b"")["error"]["code"]) == ("inference.replies", "internal_error")
    assert letter.value == b"body"
