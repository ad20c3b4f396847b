"""The publisher: turns endings into records and hands them to their partitions' publishers."""

import asyncio
import logging
import time
from collections.abc import Sequence

from pipeline.deadletter import dead_letter
from pipeline.handoff import Handoff
from pipeline.metrics import Metrics
from workers.assignment import Assignment
from workers.codec import Codec
from workers.jobs import Answered, Ending
from workers.partition_publisher import Parcel
from workers.replies import Signature, reply_record

log = logging.getLogger(__name__)


class Packer:
    """Builds the records of an ending: its reply and, where somebody has something to mend, a dead letter."""

    def __init__(self, codec: Codec, signature: Signature, group_id: str) -> None:
        self._codec = codec
        self._signature = signature
        self._group_id = group_id

    def pack(self, endings: Sequence[Ending]) -> list[Parcel]:
        """Decodes tokens, so it is called on a thread."""
        return [self._parcel(ending) for ending in endings]

    def _parcel(self, ending: Ending) -> Parcel:
        reply = reply_record(ending, self._codec, self._signature)
        if isinstance(ending, Answered) or not ending.error.dead_letter:
            return Parcel(ending, (reply,))
        return Parcel(ending, (reply, dead_letter(ending.ticket.record, ending.error, self._group_id, ending.attempt)))


class Publisher:
    """Drains the endings, one flush interval's worth at a time."""

    def __init__(self, endings: Handoff[Ending], packer: Packer, assignment: Assignment, metrics: Metrics) -> None:
        self._endings = endings
        self._packer = packer
        self._assignment = assignment
        self._metrics = metrics

    async def run(self, flush_interval_s: float) -> None:
        """Pass on until the endings are closed and empty; returns when all of it is committed."""
        async for endings in self._endings.batches(flush_interval_s):
            owed = [ending for ending in endings if self._assignment.publisher(ending.ticket)]
            for parcel in await asyncio.to_thread(self._packer.pack, owed):
                if publisher := self._assignment.publisher(parcel.ending.ticket):  # it may have been lost meanwhile
                    publisher.put(parcel)
        await self._assignment.settled()

    def count(self, parcels: Sequence[Parcel]) -> None:
        """Note what has been committed."""
        for parcel in parcels:
            self._count(parcel.ending)

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
        metrics.cached_tokens.inc(ending.completion.cached_tokens)
        metrics.generated_tokens.inc(len(ending.completion.token_ids))
        stage.labels("batch_wait").observe(ending.batch_wait_s)
        stage.labels("prefill").observe(ending.completion.prefill_s)
        stage.labels("decode").observe(ending.completion.decode_s)
        stage.labels("publish").observe(time.monotonic() - ending.finished_at)
