"""The reply record of an ending: value and headers as the contract has them."""

import itertools
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import orjson

from pipeline import contract
from pipeline.errors import PeltonError, ReplyTooLarge
from pipeline.messages import (
    ChatCompletion,
    Choice,
    ChoiceLogprobs,
    PromptTokensDetails,
    ReplyMessage,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from pipeline.records import OutgoingRecord
from pipeline.tracing import continue_trace
from workers.codec import Codec
from workers.engine import api
from workers.jobs import Answered, Ending, Ticket

# Completion ids are unique at the price of a counter: a random number for the process, a serial one for the answer.
_PROCESS = secrets.token_hex(12)
_serial = itertools.count(1)

SAFE_BYTES = 8_000
"""Any topic for replies takes one below this; a larger one has an error reply to be sent in its place."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Who answers: goes into every reply's headers."""

    model: str
    worker: str


def reply_record(ending: Ending, codec: Codec, signature: Signature) -> OutgoingRecord:
    """Build the reply. Decodes tokens, so it is called from a thread."""
    if isinstance(ending, Answered):
        value = orjson.dumps(_completion(ending, codec, signature.model).model_dump())
        record = _record(ending.ticket, value, signature, ending.attempt, _stages(ending))
        return (
            record if len(value) < SAFE_BYTES else replace(record, fallback=_too_large(ending, len(value), signature))
        )
    return error_record(ending.ticket, ending.error, signature, ending.attempt)


def error_record(ticket: Ticket, error: PeltonError, signature: Signature, attempt: int) -> OutgoingRecord:
    stages = [(contract.QUEUE_MS, _ms(ticket.queue_s))]
    return _record(ticket, orjson.dumps(error.body()), signature, attempt, stages)


def _too_large(answered: Answered, size: int, signature: Signature) -> OutgoingRecord:
    error = ReplyTooLarge(
        f"The reply has {size:,} bytes, more than its topic takes: ask for fewer log-probabilities or tokens, "
        "or have the operator raise the topic's max.message.bytes."
    )
    return error_record(answered.ticket, error, signature, answered.attempt)


def _record(
    ticket: Ticket, value: bytes, signature: Signature, attempt: int, stages: list[tuple[str, bytes]]
) -> OutgoingRecord:
    envelope = ticket.envelope
    headers = [
        (contract.CORRELATION_ID, envelope.correlation_id),
        (contract.SOURCE, str(envelope.source).encode()),
        (contract.MODEL, signature.model.encode()),
        (contract.WORKER, signature.worker.encode()),
        (contract.ATTEMPT, str(attempt).encode()),
        *stages,
    ]
    if envelope.tenant:
        headers.append((contract.TENANT, envelope.tenant.encode()))
    trace = continue_trace(envelope.traceparent) if envelope.traceparent else None
    if trace:
        headers.append((contract.TRACEPARENT, trace))
        if envelope.tracestate:
            headers.append((contract.TRACESTATE, envelope.tracestate))
    return OutgoingRecord(envelope.reply_topic, value, envelope.correlation_id, headers, envelope.reply_partition)


def _stages(answered: Answered) -> list[tuple[str, bytes]]:
    completion = answered.completion
    return [
        (contract.QUEUE_MS, _ms(answered.ticket.queue_s)),
        (contract.BATCH_WAIT_MS, _ms(answered.batch_wait_s)),
        (contract.PREFILL_MS, _ms(completion.prefill_s)),
        (contract.DECODE_MS, _ms(completion.decode_s)),
        (contract.PUBLISH_MS, _ms(time.monotonic() - answered.finished_at)),
    ]


def _ms(seconds: float) -> bytes:
    return f"{seconds * 1000:.1f}".encode()


def _completion(answered: Answered, codec: Codec, model: str) -> ChatCompletion:
    job, completion = answered.job, answered.completion
    text = cut_at_stop(codec.decode(completion.token_ids), job.request.stop_strings)
    choice = Choice(
        message=ReplyMessage(content=text),
        logprobs=_logprobs(completion, codec),
        finish_reason=completion.finish_reason.value,
    )
    return ChatCompletion(
        id=f"chatcmpl-{_PROCESS}{next(_serial):x}",
        created=int(time.time()),
        model=model,
        choices=[choice],
        usage=Usage(
            prompt_tokens=len(job.prompt),
            completion_tokens=len(completion.token_ids),
            total_tokens=len(job.prompt) + len(completion.token_ids),
            prompt_tokens_details=PromptTokensDetails(cached_tokens=completion.cached_tokens),
        ),
    )


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """The text before the first stop string: a token may carry it and more."""
    ends = [at for string in stop if (at := text.find(string)) >= 0]
    return text[: min(ends)] if ends else text


def _logprobs(completion: api.Completion, codec: Codec) -> ChoiceLogprobs | None:
    if completion.logprobs is None:
        return None
    return ChoiceLogprobs(
        content=[
            TokenLogprob(
                **_top(codec, token.token_id, token.logprob).model_dump(),
                top_logprobs=[_top(codec, token_id, logprob) for token_id, logprob in token.top],
            )
            for token in completion.logprobs
        ]
    )


def _top(codec: Codec, token_id: int, logprob: float) -> TopLogprob:
    text = codec.decode([token_id])
    whole = "\ufffd" not in text  # a token that is part of a character has no text of its own
    return TopLogprob(token=text, logprob=logprob, bytes=list(text.encode()) if whole else None)
