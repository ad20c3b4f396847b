"""The publisher: turns endings into records and hands them to their partitions' publishers."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.deadletter import dead_letter
from pipeline.handoff import Handoff
from pipeline.metrics import Metrics
from pipeline.waiting import WaitingLine
from workers.answers import answer_body
from workers.assignment import Assignment
from workers.codec import Codec
from workers.engine.api import StepEngine
from workers.flights import Flights
from workers.jobs import Answered, Ending, Job, Recalled, Refused, Resent
from workers.partition_publisher import Parcel
from workers.recall import Recall
from workers.replies import Signature, answer_record, error_record, reply_value
from workers.sessions import SessionGate

log = logging.getLogger(__name__)

MOST_INTERVALS = 80
"""Flush intervals that an answer may wait at most."""
WAIT_SHARE = 1 / 8
"""The part of the longest wait for the engine that an answer may wait longer: hardly noticed by those who waited, and
fewer commits disturb an engine on the same cores less. It is the wait of the answer itself or of who still waits."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an ending may wait for others to be published with, in seconds.

    Answers wait longer only while the engine has something to do that commits would disturb.
    """

    line: WaitingLine[Job]
    engine: StepEngine
    flush_interval_s: float

    def __call__(self, ending: Ending) -> float:
        if not (isinstance(ending, Answered) and self.engine.running):
            return self.flush_interval_s
        share = WAIT_SHARE * max(ending.batch_wait_s, self.line.longest_wait(time.monotonic()))
        return max(self.flush_interval_s, min(share, MOST_INTERVALS * self.flush_interval_s))


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
        if isinstance(ending, Refused):
            return self._refusal(ending)
        if isinstance(ending, Resent):
            return Parcel(ending, (answer_record(ending, ending.value, self._signature),))
        body = ending.body if isinstance(ending, Recalled) else answer_body(ending, self._codec)
        value = reply_value(body, self._signature.model)
        return Parcel(ending, (answer_record(ending, value, self._signature),), body)

    def _refusal(self, ending: Refused) -> Parcel:
        reply = error_record(ending.ticket, ending.error, self._signature, ending.attempt)
        if not ending.error.dead_letter:
            return Parcel(ending, (reply,))
        return Parcel(ending, (reply, dead_letter(ending.ticket.record, ending.error, self._group_id, ending.attempt)))


class Publisher:
    """Drains the endings, batch by batch."""

    def __init__(  # noqa: PLR0913  # what endings come from, go through and are told to
        self,
        *,
        endings: Handoff[Ending],
        packer: Packer,
        assignment: Assignment,
        flights: Flights,
        recall: Recall,
        sessions: SessionGate,
        metrics: Metrics,
    ) -> None:
        self._endings = endings
        self._packer = packer
        self._assignment = assignment
        self._flights = flights
        self._recall = recall
        self._sessions = sessions
        self._metrics = metrics

    async def run(self) -> None:
        """Pass on until the endings are closed and empty; returns when all of it is committed."""
        async for endings in self._endings.batches():
            owed = [ending for ending in endings if self._is_owed(ending)]
            while owed:
                parcels = await asyncio.to_thread(self._packer.pack, owed)
                owed = [ending for parcel in parcels for ending in self._deliver(parcel)]
        await self._sessions.settled()
        await self._assignment.settled()

    def _is_owed(self, ending: Ending) -> bool:
        """False for what was answered already, or is another worker's to answer."""
        ticket = ending.ticket
        owed = self._assignment.publisher(ticket) is not None
        if isinstance(ending, Refused) and not ending.goes_on:
            owed = owed and not self._flights.disowned(ticket)
            self._flights.failed(ticket, fault=ending.error.dead_letter)
        elif not owed:
            self._flights.failed(ticket)
        return owed

    def _deliver(self, parcel: Parcel) -> list[Ending]:
        """Publish a reply, a turn of a session once that is stored. Returns what ends by it: those that followed."""
        ending = parcel.ending
        told_already = isinstance(ending, Answered) and self._flights.disowned(ending.ticket)
        if not (told_already or self._sessions.takes(parcel)):
            self._pass_on(parcel)
        if isinstance(ending, Answered | Recalled):
            # A reply of a session is told again only when its turn is stored: that may fail, or be another worker's.
            keys = replace(ending.keys, resend=None) if ending.ticket.envelope.session else ending.keys
            self._recall.keep(keys, parcel.value, parcel.body, ending.outcome)
        if isinstance(ending, Answered):
            return self._flights.landed(ending.ticket, parcel.value, parcel.body)
        return []

    def pass_on_turn(self, parcel: Parcel) -> None:
        """The turn is stored: its reply may be sent, and told again when the same request is sent again."""
        if isinstance(parcel.ending, Answered | Recalled):
            # The prompt will be another then, the turn being in it: the reply cannot lean on the answer's key.
            keys = replace(parcel.ending.keys, answer=None)
            self._recall.keep(keys, parcel.value, parcel.body, parcel.ending.outcome)
        self._pass_on(parcel)

    def _pass_on(self, parcel: Parcel) -> None:
        """To the partition's publisher, if the partition was not lost meanwhile."""
        if publisher := self._assignment.publisher(parcel.ending.ticket):
            publisher.put(parcel)

    def count(self, parcels: Sequence[Parcel]) -> None:
        """Note what has been committed."""
        for parcel in parcels:
            self._count(parcel.ending)

    def _count(self, ending: Ending) -> None:
        metrics, stage = self._metrics, self._metrics.stage_seconds
        stage.labels("queue").observe(ending.ticket.queue_s)
        if isinstance(ending, Refused):
            metrics.finished.labels(ending.error.code).inc()
            metrics.dead_letters.inc(ending.error.dead_letter)
            log.warning("%s ended with %s: %s", ending.ticket.record.source, ending.error.code, ending.error.message)
            return
        metrics.finished.labels("ok").inc()
        metrics.cache_requests.labels(ending.outcome).inc()
        self._recall.count(ending.outcome)
        if not isinstance(ending, Answered):
            return
        metrics.prompt_tokens.inc(len(ending.job.prompt))
        metrics.cached_tokens.inc(ending.completion.cached_tokens)
        metrics.generated_tokens.inc(len(ending.completion.token_ids))
        stage.labels("batch_wait").observe(ending.batch_wait_s)
        stage.labels("prefill").observe(ending.completion.prefill_s)
        stage.labels("decode").observe(ending.completion.decode_s)
        stage.labels("publish").observe(time.monotonic() - ending.finished_at)
