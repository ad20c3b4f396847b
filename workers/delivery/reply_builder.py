"""From a result to the records that carry it."""

from collections.abc import Sequence
from dataclasses import replace

import orjson

from pelton.pipeline.wire import contract
from pelton.pipeline.wire.bodies import CHAT_BODIES, BodyCodec
from pelton.pipeline.wire.dead_letter import dead_letter
from pelton.pipeline.wire.records import OutgoingRecord, RequestRecord
from pelton.workers.containment import fault, refusal
from pelton.workers.delivery.completion_body import answer_body
from pelton.workers.delivery.reply_records import WorkerIdentity, answer_record, error_record, reply_value
from pelton.workers.delivery.reply_spans import ReplySpans
from pelton.workers.prepare.codec import Codec
from pelton.workers.requests import CacheHit, Duplicate, Failed, OutgoingReply, Result


class ReplyBuilder:
    """Builds the records of an ending: its reply and, where somebody has something to mend, a dead letter."""

    def __init__(
        self,
        codec: Codec,
        signature: WorkerIdentity,
        group_id: str,
        spans: ReplySpans,
        bodies: BodyCodec = CHAT_BODIES,
    ) -> None:
        self._codec = codec
        self._spans = spans
        self._signature = signature
        self._group_id = group_id
        self._bodies = bodies

    def pack(self, endings: Sequence[Result]) -> list[OutgoingReply]:
        """One for each, of its refusal where building it fails. Decodes tokens, so it is called on a thread."""
        return [self._parcel_or_refusal(ending) for ending in endings]

    def _parcel_or_refusal(self, ending: Result) -> OutgoingReply:
        try:
            return self._parcel(ending)
        except Exception as error:  # noqa: BLE001  # the others' replies must go out
            refused = refusal(error, "answer", ending.delivery)
        try:
            return self._refusal(refused)
        except Exception as error:  # noqa: BLE001  # likewise
            return self._least(Failed(ending.delivery, fault(error, "refuse", ending.delivery)))

    def _least(self, ending: Failed) -> OutgoingReply:
        """No more than what cannot fail: id, error, and the record's bytes."""
        envelope, record = ending.delivery.envelope, ending.delivery.record
        headers = [(contract.CORRELATION_ID, envelope.correlation_id), (contract.SOURCE, str(record.source).encode())]
        value = orjson.dumps(ending.error.body())
        reply = OutgoingRecord(envelope.reply_topic, value, envelope.correlation_id, headers, envelope.reply_partition)
        bare = replace(record, headers=())
        return OutgoingReply(ending, (reply, dead_letter(bare, ending.error, self._group_id)))

    def _parcel(self, ending: Result) -> OutgoingReply:
        if isinstance(ending, Failed):
            return self._refusal(ending)
        request = ending.delivery.record
        if isinstance(ending, Duplicate):
            trace = self._spans.open(ending)
            record = answer_record(ending, ending.value, self._signature, trace.headers)
            return OutgoingReply(ending, (self._keyed(request, record),), trace=trace)
        body = ending.body if isinstance(ending, CacheHit) else answer_body(ending, self._codec)
        whole = reply_value(body, self._signature.model, ending.shortened_to)
        value = self._bodies.reply(request, whole)
        trace = self._spans.open(ending)
        record = answer_record(ending, value, self._signature, trace.headers)
        return OutgoingReply(ending, (self._keyed(request, record),), body, trace)

    def _refusal(self, ending: Failed) -> OutgoingReply:
        trace = self._spans.open(ending)
        record = error_record(ending.delivery, ending.error, self._signature, ending.attempt, trace.headers)
        reply = self._keyed(ending.delivery.record, record)
        if not ending.error.dead_letter:
            return OutgoingReply(ending, (reply,), trace=trace)
        letter = dead_letter(ending.delivery.record, ending.error, self._group_id, ending.attempt)
        return OutgoingReply(ending, (reply, letter), trace=trace)

    def _keyed(self, request: RequestRecord, record: OutgoingRecord) -> OutgoingRecord:
        """With the key that its request had, where replies are the records themselves."""
        key = request.key
        if not self._bodies.keeps_key or key is None:
            return record
        fallback = None if record.fallback is None else replace(record.fallback, key=key)
        return replace(record, key=key, fallback=fallback)
