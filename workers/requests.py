"""What travels through a worker: one delivery a record, one job a valid request, one result a delivery."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pelton.cache.sessions.conversation import Conversation
from pelton.pipeline.errors import PeltonError
from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.tracing.spans import NO_TRACE, ReplyTrace, TraceHeaders
from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.pipeline.wire.headers import Envelope
from pelton.pipeline.wire.records import OutgoingRecord, RequestRecord
from pelton.workers.engine.api import Completion, Outcome
from pelton.workers.forms.answer_form import AnswerForm


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """A fetched record that is owed a reply; equal to none but itself.

    `tracker` belongs to one stretch of owning the partition: when the partition's current tracker is another one, the
    record is somebody else's by now and its ending is dropped. `fetched_at` is on `time.monotonic`'s clock, `queue_s`
    what the record had waited in Kafka before.
    """

    record: RequestRecord
    envelope: Envelope
    tracker: OffsetTracker
    fetched_at: float
    queue_s: float

    @property
    def log_fields(self) -> dict[str, str]:
        """For `extra` of a log line about this request: its place, and its sender's id where it has one."""
        source, given = str(self.record.source), self.envelope.correlation_id
        fields = {"request": source}
        return fields if given == source.encode() else fields | {"correlation_id": given.decode("utf-8", "replace")}

    @property
    def sent_ms(self) -> int:
        """When the request was sent (Unix milliseconds); 0 where it claims to come from the future."""
        return self.record.timestamp_ms if self.record.timestamp_ms <= time.time() * 1000 else 0


@dataclass(frozen=True, slots=True)
class CacheKeys:
    """Under what the cache knows a request.

    `answer` is None for one whose answer is not to be found again, `resend` for one that cannot be told from others.
    What is wanted `fresh` is written, not read.
    """

    answer: str | None = None
    resend: str | None = None
    fresh: bool = False

    @property
    def read(self) -> list[str]:
        """What to look up before the request is generated."""
        return [] if self.fresh else [key for key in (self.resend, self.answer) if key is not None]

    @property
    def flight(self) -> str | None:
        """What requests have in common that wait for the same generation; None for one that waits for no other."""
        return None if self.fresh else self.answer or self.resend


@dataclass(frozen=True, slots=True)
class Truncation:
    """How a prompt that was too long was cut, and by how many tokens."""

    policy: str
    tokens: int

    @property
    def header(self) -> bytes:
        return f"{self.policy};tokens={self.tokens}".encode()


@dataclass(frozen=True, slots=True)
class RenderedRequest:
    """A valid request with its prompt as text: enough to look its answer up.

    One of a session has its `prompt` in tokens already, which had to be counted, and the `conversation` it is made of.
    `shortened_to` is the most tokens that it may generate, where that is less than it asked for because of the load.
    """

    delivery: Delivery
    request: ChatRequest
    text: str
    keys: CacheKeys = CacheKeys()
    prompt: Sequence[int] | None = None
    conversation: Conversation | None = None
    shortened_to: int | None = None
    truncation: Truncation | None = None


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A valid request, tokenised, and the form its answer is held to. `text` is what the prompt was made of."""

    delivery: Delivery
    request: ChatRequest
    prompt: Sequence[int]
    max_new_tokens: int
    keys: CacheKeys = CacheKeys()
    form: AnswerForm | None = None
    text: str = ""
    shortened_to: int | None = None
    truncation: Truncation | None = None


class TokenListener(Protocol):
    """Follows one attempt at an answer, on the inference thread; must not wait."""

    def token(self, place: int, token_id: int) -> None:
        """A token that is not the last; `place` is below what came before when the answer is computed anew."""

    def text(self, so_far: str) -> None:
        """The text so far, from an engine that works on text. Any thread."""

    def ended(self, outcome: Outcome) -> None:
        """The attempt is over."""


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """One that failed in the engine: when (`time.monotonic`), and with what kind of error."""

    started: float
    ended: float
    error: str


@dataclass(frozen=True, slots=True)
class Generated:
    """A job's completion. `batch_wait_s` is from fetch to engine, `finished_at` on `time.monotonic`'s clock.

    `attempt` says which it was, those that ended with their worker included.
    """

    job: PreparedRequest
    completion: Completion
    batch_wait_s: float
    finished_at: float
    attempt: int = 1
    failed_attempts: tuple[FailedAttempt, ...] = ()

    @property
    def delivery(self) -> Delivery:
        return self.job.delivery

    @property
    def keys(self) -> CacheKeys:
        return self.job.keys

    @property
    def shortened_to(self) -> int | None:
        return self.job.shortened_to

    @property
    def truncation(self) -> Truncation | None:
        return self.job.truncation

    @property
    def prompt_tokens(self) -> int:
        """As the answer states it, where it does."""
        written = self.completion.written
        return len(self.job.prompt) if written is None else written.prompt_tokens

    @property
    def outcome(self) -> CacheOutcome:
        return CacheOutcome.BYPASS if self.keys.answer is None else CacheOutcome.MISS


@dataclass(frozen=True, slots=True)
class CacheHit:
    """A request answered with what was generated for an equal one: `body` is the JSON of `choices` and `usage`.

    `shared_from` is the trace of that one, where it is known.
    """

    delivery: Delivery
    keys: CacheKeys
    body: bytes
    outcome: CacheOutcome
    shared_from: TraceHeaders = ()
    shortened_to: int | None = None
    truncation: Truncation | None = None


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A request that was answered before and gets the very same reply value again."""

    delivery: Delivery
    value: bytes
    outcome: CacheOutcome = CacheOutcome.RESENT
    shared_from: TraceHeaders = ()
    truncation: Truncation | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """A record that ends with an error reply, after as many attempts as `attempt` says."""

    delivery: Delivery
    error: PeltonError
    attempt: int = 1
    failed_attempts: tuple[FailedAttempt, ...] = ()


Answered = Generated | CacheHit | Duplicate
Result = Answered | Failed


@dataclass(frozen=True, slots=True)
class OutgoingReply:
    """A result and the records that report it: its reply, and perhaps a dead letter.

    `body` is the part of the reply that equal requests share; empty for a reply that shares nothing.
    """

    ending: Result
    records: tuple[OutgoingRecord, ...]
    body: bytes = b""
    trace: ReplyTrace = NO_TRACE

    @property
    def value(self) -> bytes:
        """The reply."""
        return self.records[0].value or b"" if self.records else b""

    @property
    def offset(self) -> int:
        return self.ending.delivery.record.source.offset

    def without(self, too_large: Iterable[OutgoingRecord]) -> "OutgoingReply":
        """With smaller records in place of those that are too large; one that has no smaller form is left out."""
        unwanted = set(map(id, too_large))
        kept = (record.fallback if id(record) in unwanted else record for record in self.records)
        return replace(self, records=tuple(record for record in kept if record is not None))
