"""The reply record of an ending: value and headers as the contract has them."""

import itertools
import math
import secrets
import time
from dataclasses import dataclass, replace
from typing import Any

import orjson

from pelton.pipeline.errors import PeltonError, ReplyTooLarge
from pelton.pipeline.tracing.spans import TraceHeaders
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.pipeline.wire.records import OutgoingRecord
from pelton.workers.requests import CacheHit, Delivery, Duplicate, Generated

# Completion ids are unique at the price of a counter: a random number for the process, a serial one for the answer.
_PROCESS = secrets.token_hex(12)
_serial = itertools.count(1)

SAFE_BYTES = 8_000
"""Any topic for replies takes one below this; a larger one has an error reply to be sent in its place."""


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """Who answers: goes into every reply's headers."""

    model: str
    worker: str


def reply_value(body: bytes, model: str, shortened_to: int | None = None) -> bytes:
    """A chat completion of its own id and time around the JSON object of its `choices` and `usage`, at its end."""
    head: dict[str, Any] = {
        "id": f"chatcmpl-{_PROCESS}{next(_serial):x}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
    }
    if shortened_to is not None:
        head["pelton_degraded"] = {"max_completion_tokens": shortened_to}
    return orjson.dumps(head)[:-1] + b"," + body[1:]


def answer_record(
    ending: Generated | CacheHit | Duplicate, value: bytes, signature: WorkerIdentity, trace: TraceHeaders = ()
) -> OutgoingRecord:
    """The reply of an ending with an answer; where it is large, with an error to send if its topic refuses it."""
    attempt = ending.attempt if isinstance(ending, Generated) else 1
    delivery, outcome = ending.delivery, ending.outcome
    headers = _stages(ending, delivery.queue_s)
    if isinstance(ending, Generated) and ending.job.form is not None:
        headers.append((contract.STRUCTURED, ending.job.form.strictness.encode()))
    if not isinstance(ending, Duplicate) and ending.shortened_to is not None:
        headers.append((contract.DEGRADED, f"max_completion_tokens={ending.shortened_to}".encode()))
    if outcome is not CacheOutcome.BYPASS:
        headers.append((contract.CACHE, outcome.encode()))
    if (truncation := ending.truncation) is not None:
        headers.append((contract.TRUNCATED, truncation.header))
    headers.extend(trace)
    record = _record(delivery, value, signature, attempt, headers)
    if len(value) < SAFE_BYTES:
        return record
    return replace(record, fallback=_too_large(delivery, len(value), signature, attempt, trace))


def error_record(
    delivery: Delivery, error: PeltonError, signature: WorkerIdentity, attempt: int, trace: TraceHeaders = ()
) -> OutgoingRecord:
    stages = [(contract.QUEUE_MS, _ms(delivery.queue_s)), *trace]
    if error.retry_after_s is not None:
        stages.append((contract.RETRY_AFTER_MS, str(math.ceil(error.retry_after_s * 1000)).encode()))
    return _record(delivery, orjson.dumps(error.body()), signature, attempt, stages)


def _too_large(
    delivery: Delivery, size: int, signature: WorkerIdentity, attempt: int, trace: TraceHeaders
) -> OutgoingRecord:
    error = ReplyTooLarge(
        f"The reply has {size:,} bytes, more than its topic takes: ask for fewer log-probabilities or tokens, "
        "or have the operator raise the topic's max.message.bytes."
    )
    return error_record(delivery, error, signature, attempt, trace)


def _record(
    delivery: Delivery, value: bytes, signature: WorkerIdentity, attempt: int, more: list[tuple[str, bytes]]
) -> OutgoingRecord:
    envelope = delivery.envelope
    headers = [
        *((name, envelope.correlation_id) for name in envelope.id_headers),
        (contract.SOURCE, str(envelope.source).encode()),
        (contract.MODEL, signature.model.encode()),
        (contract.WORKER, signature.worker.encode()),
        (contract.ATTEMPT, str(attempt).encode()),
        *more,
    ]
    if envelope.tenant:
        headers.append((contract.TENANT, envelope.tenant.encode()))
    if envelope.routed is not None:
        headers.extend(envelope.routed.headers())
    return OutgoingRecord(envelope.reply_topic, value, envelope.correlation_id, headers, envelope.reply_partition)


def _stages(ending: Generated | CacheHit | Duplicate, queue_s: float) -> list[tuple[str, bytes]]:
    queue = (contract.QUEUE_MS, _ms(queue_s))
    if not isinstance(ending, Generated):
        return [queue]
    completion = ending.completion
    return [
        queue,
        (contract.BATCH_WAIT_MS, _ms(ending.batch_wait_s)),
        (contract.PREFILL_MS, _ms(completion.prefill_s)),
        (contract.DECODE_MS, _ms(completion.decode_s)),
        (contract.PUBLISH_MS, _ms(time.monotonic() - ending.finished_at)),
    ]


def _ms(seconds: float) -> bytes:
    return f"{seconds * 1000:.1f}".encode()
