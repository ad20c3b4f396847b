"""From a result to the records that carry it."""

from collections.abc import Sequence

from pelton.pipeline.wire.dead_letter import dead_letter
from pelton.workers.delivery.completion_body import answer_body
from pelton.workers.delivery.reply_records import WorkerIdentity, answer_record, error_record, reply_value
from pelton.workers.prepare.tokenizer import Codec
from pelton.workers.requests import CacheHit, Duplicate, Failed, OutgoingReply, Result


class ReplyBuilder:
    """Builds the records of an ending: its reply and, where somebody has something to mend, a dead letter."""

    def __init__(self, codec: Codec, signature: WorkerIdentity, group_id: str) -> None:
        self._codec = codec
        self._signature = signature
        self._group_id = group_id

    def pack(self, endings: Sequence[Result]) -> list[OutgoingReply]:
        """Decodes tokens, so it is called on a thread."""
        return [self._parcel(ending) for ending in endings]

    def _parcel(self, ending: Result) -> OutgoingReply:
        if isinstance(ending, Failed):
            return self._refusal(ending)
        if isinstance(ending, Duplicate):
            return OutgoingReply(ending, (answer_record(ending, ending.value, self._signature),))
        body = ending.body if isinstance(ending, CacheHit) else answer_body(ending, self._codec)
        value = reply_value(body, self._signature.model)
        return OutgoingReply(ending, (answer_record(ending, value, self._signature),), body)

    def _refusal(self, ending: Failed) -> OutgoingReply:
        reply = error_record(ending.ticket, ending.error, self._signature, ending.attempt)
        if not ending.error.dead_letter:
            return OutgoingReply(ending, (reply,))
        return OutgoingReply(
            ending, (reply, dead_letter(ending.ticket.record, ending.error, self._group_id, ending.attempt))
        )
