"""A generation: what is computed once for all requests that wait for it."""

import time
from dataclasses import dataclass, field
from enum import Enum, auto

from pelton.pipeline.errors import PeltonError
from pelton.pipeline.request_queue import QueuedRequest
from pelton.pipeline.tracing.spans import TraceHeaders
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.workers.requests import CacheHit, Delivery, Duplicate, FailedAttempt, Generated, PreparedRequest, Result


class Lease(Enum):
    """Who may generate an answer, among all workers."""

    NONE = auto()
    """None is needed, or the cache is unreachable: it runs without."""
    WANTED = auto()
    """It may not run yet."""
    HELD = auto()
    """This worker may, and no other."""
    ELSEWHERE = auto()
    """Another worker does: this generation waits outside the queue for that answer."""


@dataclass(slots=True, eq=False)
class Generation:
    """What goes through queue and engine. Requests wait for it and own nothing of it.

    `job` is what is computed: the request of whoever came first, and equal to all others. `waiters` are in the order of
    their arrival and belong to the event loop, as does all that is not said to be for any thread. `attempt` counts from
    1 and belongs to the inference thread, as do `again` (the first answer did not have its form, another is to be
    chosen), `begun`, `taken` and `failed_attempts`. `since` is when it began to wait, `elsewhere_since` when it was
    first left to another worker (`time.monotonic`).
    """

    key: str | None
    job: PreparedRequest
    lease: Lease = Lease.NONE
    errors: int = 0
    since: float = field(default_factory=time.monotonic)
    elsewhere_since: float | None = None
    waiters: dict[Delivery, PreparedRequest] = field(default_factory=dict)
    first: Delivery | None = None
    """Who has waited longest: errors and crashes are attributed to this one. Any thread."""
    priority: int = 0
    """The highest of those that have waited for it. Any thread."""
    wanted: bool = False
    """Whether anybody waits for it. Once nobody does any more, nobody will again. Any thread."""
    attempt: int = 1
    again: bool = False
    begun: bool = False
    """Whether it has been in the engine."""
    taken: int | None = None
    """Tokens that its answer took, prompt included; None as long as there is none."""
    reserved: bool = False
    """Whether its tenant's quota was charged for it."""
    failed_attempts: list[FailedAttempt] = field(default_factory=list)

    @property
    def may_run(self) -> bool:
        """Any thread."""
        return self.lease in {Lease.NONE, Lease.HELD}

    @property
    def queued(self) -> QueuedRequest["Generation"]:
        """As the queue takes it."""
        return QueuedRequest(self, len(self.job.prompt), self.job.max_new_tokens, self.since, self.priority)

    def add(self, job: PreparedRequest) -> None:
        self.waiters[job.delivery] = job
        self.priority = max(self.priority, job.delivery.envelope.lane.priority)
        self.first = self.first or job.delivery
        self.wanted = True

    def remove(self, delivery: Delivery) -> None:
        del self.waiters[delivery]
        if delivery is self.first:
            self.first = next(iter(self.waiters), None)
            self.wanted = self.first is not None

    def leave_to_another(self, now: float) -> None:
        """Another worker has the lease."""
        self.lease = Lease.ELSEWHERE
        self.elsewhere_since = self.elsewhere_since or now

    def charged(self) -> None:
        """Its tenant's quota was charged for it."""
        self.reserved = True

    def begin(self) -> None:
        """It joins the engine."""
        self.begun = True

    def end(self, tokens: int) -> None:
        """It has an answer, which took so many tokens with its prompt."""
        self.taken = tokens

    def try_again(self, *, otherwise: bool = False) -> None:
        """The next attempt is due; `otherwise`: it is to choose other tokens."""
        self.attempt += 1
        self.again |= otherwise

    def joined(
        self, waiter: PreparedRequest, body: bytes, value: bytes | None = None, shared_from: TraceHeaders = ()
    ) -> Result:
        """The result of one that waited for the answer `body` of another. The same request, sent again, gets its very
        reply, `value`. `shared_from` is the other's trace.

        Not so in a session, where the first was taken back: the answer is still to become a turn.
        """
        resend = self.job.keys.resend
        is_again = resend is not None and waiter.keys.resend == resend and not waiter.delivery.envelope.session
        if value is not None and is_again:
            return Duplicate(waiter.delivery, value, shared_from=shared_from, truncation=waiter.truncation)
        return CacheHit(
            waiter.delivery, waiter.keys, body, CacheOutcome.JOINED, shared_from,
            shortened_to=waiter.shortened_to, truncation=waiter.truncation,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Computed:
    """A generation is done. `result` is that of its job's request, which may have left meanwhile."""

    generation: Generation
    result: Generated


@dataclass(frozen=True, slots=True)
class Broken:
    """A generation failed, in its `attempt`-th attempt."""

    generation: Generation
    error: PeltonError
    attempt: int = 1


Finished = Result | Computed | Broken
"""What is on its way to be published."""
