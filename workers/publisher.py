"""The publisher: sends replies and dead letters, then commits the offsets they settle.

At least once: an offset is committed only after the broker has acknowledged the reply and the dead letter of every
record below it. A crash between the two repeats an answer; none is lost.
"""

import asyncio
import logging
import time

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline.deadletter import dead_letter
from pipeline.handoff import Handoff
from pipeline.metrics import Metrics
from pipeline.records import OutgoingRecord
from workers.assignment import Assignment
from workers.codec import Codec
from workers.jobs import Answered, Ending, Refused, Ticket
from workers.replies import Signature, reply_record
from workers.sender import Sender

log = logging.getLogger(__name__)


class Publisher:
    """Drains the endings, one flush interval's worth at a time."""

    def __init__(  # noqa: PLR0913  # it is where the two sides of the worker meet
        self,
        *,
        endings: Handoff[Ending],
        codec: Codec,
        signature: Signature,
        sender: Sender,
        consumer: AIOKafkaConsumer,
        assignment: Assignment,
        metrics: Metrics,
    ) -> None:
        self._endings = endings
        self._codec = codec
        self._signature = signature
        self._sender = sender
        self._consumer = consumer
        self._assignment = assignment
        self._metrics = metrics

    async def run(self, flush_interval_s: float) -> None:
        """Publish until the endings are closed and empty."""
        async for endings in self._endings.batches(flush_interval_s):
            await self._publish([ending for ending in endings if self._is_ours(ending.ticket)])
            await self._commit()

    async def _publish(self, endings: list[Ending]) -> None:
        if not endings:
            return
        records = await asyncio.to_thread(self._records, endings)
        await self._sender.deliver(records)
        for ending in endings:
            ticket = ending.ticket
            if self._is_ours(ticket):  # it may have been lost while the broker acknowledged
                ticket.tracker.complete(ticket.record.source.offset)
            self._count(ending)

    async def _commit(self) -> None:
        positions = self._assignment.uncommitted()
        if not positions:
            return
        try:
            await self._consumer.commit(positions)
        except KafkaError as error:
            log.warning("offsets not committed, trying again with the next flush: %r", error)
            return
        for partition, position in positions.items():
            if tracker := self._assignment.trackers.get(partition):
                tracker.mark_committed(position)

    def _records(self, endings: list[Ending]) -> list[OutgoingRecord]:
        replies = [reply_record(ending, self._codec, self._signature) for ending in endings]
        dead_letters = [
            dead_letter(ending.ticket.record, ending.error, self._assignment.group_id)
            for ending in endings
            if isinstance(ending, Refused) and ending.error.dead_letter
        ]
        return replies + dead_letters

    def _is_ours(self, ticket: Ticket) -> bool:
        source = ticket.record.source
        return self._assignment.owns(TopicPartition(source.topic, source.partition), ticket.tracker)

    def _count(self, ending: Ending) -> None:
        metrics, stage = self._metrics, self._metrics.stage_seconds
        stage.labels("queue").observe(ending.ticket.queue_s)
        if not isinstance(ending, Answered):
            metrics.finished.labels(ending.error.code).inc()
            metrics.dead_letters.inc(ending.error.dead_letter)
            log.warning("%s ended with %s: %s", ending.ticket.record.source, ending.error.code, ending.error.message)
            return
        metrics.finished.labels("ok").inc()
        metrics.prompt_tokens.inc(len(ending.job.prompt))
        metrics.generated_tokens.inc(len(ending.completion.token_ids))
        stage.labels("batch_wait").observe(ending.batch_wait_s)
        stage.labels("prefill").observe(ending.completion.prefill_s)
        stage.labels("decode").observe(ending.completion.decode_s)
        stage.labels("publish").observe(time.monotonic() - ending.finished_at)
