"""Other ways for replies whose topic is gone, or that cannot be sent as they are: nothing is lost, others go on."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson
from aiokafka.errors import KafkaError

from pelton.pipeline.errors import InternalError, PeltonError
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.dead_letter import dead_letter
from pelton.pipeline.wire.records import OutgoingRecord
from pelton.workers.kafka.topics import TopicDirectory, TopicsMissing, needed_topics
from pelton.workers.notices import Notice
from pelton.workers.requests import Failed, OutgoingReply

log = logging.getLogger(__name__)


class Redirects:
    """Asks the broker anew which topics there are, and gives replies another address where theirs is gone."""

    def __init__(self, kafka: KafkaSettings, directory: TopicDirectory) -> None:
        self._kafka = kafka
        self._directory = directory
        self._notice = Notice(log)

    async def around_missing(self, replies: Sequence[OutgoingReply]) -> list[OutgoingReply]:
        """The same replies, those of missing topics and partitions addressed anew. Does not raise.

        The order of choice is the topic asked for, the default topic, the dead letters.
        """
        topics = {record.topic for reply in replies for record in reply.records} | {self._kafka.reply_topic}
        try:
            partitions = {topic: await self._directory.partitions(topic, fresh=True) for topic in topics}
            missing = [topic for topic in needed_topics(self._kafka) if topic in topics and partitions[topic] is None]
            if missing and self._kafka.create_topics:
                await self._directory.create(missing)
                partitions |= dict.fromkeys(missing, self._kafka.partitions)
        except (KafkaError, OSError, TimeoutError, TopicsMissing) as error:
            self._notice.say("not known which topics there are, asking again: %r", error)
            return list(replies)
        if gone := sorted(topic for topic in topics if partitions[topic] is None):
            names, default = ", ".join(gone), self._kafka.reply_topic
            self._notice.say("Topics gone: %s. Replies to them go to %s, or else to the dead letters", names, default)
        return [self._around(reply, partitions) for reply in replies]

    def last_resort(self, reply: OutgoingReply, error: Exception) -> OutgoingReply:
        """For one that fails alone: an error reply to the default topic, with the record's bytes as a dead letter."""
        delivery = reply.ending.delivery
        told = InternalError(f"The reply could not be published as it was ({type(error).__name__}).")
        envelope = delivery.envelope
        headers = [
            *((name, envelope.correlation_id) for name in envelope.id_headers),
            (contract.SOURCE, str(delivery.record.source).encode()),
        ]
        value = orjson.dumps(told.body())
        headers.extend(reply.trace.headers)
        record = OutgoingRecord(self._kafka.reply_topic, value, envelope.correlation_id, headers)
        log.error(
            "the reply to %s cannot be published, an error goes out instead: %r",
            *(delivery.record.source, error), extra=delivery.log_fields,
        )  # fmt: skip
        return OutgoingReply(Failed(delivery, told), (record, self._dead_letter(reply, told)), trace=reply.trace)

    def _around(self, reply: OutgoingReply, partitions: Mapping[str, int | None]) -> OutgoingReply:
        records = tuple(self._record(record, reply, partitions) for record in reply.records)
        kept = tuple(record for record in records if record is not None)
        if all(new is old for new, old in zip(records, reply.records, strict=True)):
            return reply
        if not kept:
            told = InternalError(f"The reply's topic {reply.records[0].topic!r} and the default one are gone.")
            kept = (self._dead_letter(reply, told),)
        return replace(reply, records=kept)

    def _record(
        self, record: OutgoingRecord, reply: OutgoingReply, partitions: Mapping[str, int | None]
    ) -> OutgoingRecord | None:
        source = reply.ending.delivery.record.source
        if record.topic == contract.dead_letter_topic(source.topic):
            return record  # there is nowhere else
        count = partitions[record.topic]
        if count is None:
            count = partitions[self._kafka.reply_topic]
            return None if count is None else _moved(record, self._kafka.reply_topic, source.partition % count)
        if record.partition is not None and record.partition >= count:
            return _moved(record, record.topic, source.partition % count)
        return record

    def _dead_letter(self, reply: OutgoingReply, error: PeltonError) -> OutgoingRecord:
        return dead_letter(replace(reply.ending.delivery.record, headers=()), error, self._kafka.group_id)


def _moved(record: OutgoingRecord, topic: str, partition: int) -> OutgoingRecord:
    fallback = None if record.fallback is None else _moved(record.fallback, topic, partition)
    return replace(record, topic=topic, partition=partition, fallback=fallback)
