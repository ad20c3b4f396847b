"""What the service writes to its own topics, and reads back after a restart."""

from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict

from pelton.producers.reports.assembly.report import JobState


class JobStatus(BaseModel):
    """The value on the status topic, under the job's id. Times are Unix milliseconds; `run` names the submission."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    run: str
    title: str = ""
    entity: str = ""
    period: str = ""
    state: JobState
    done: int = 0
    """Texts that are finished, notes on long sources included."""
    total: int = 0
    running: tuple[str, ...] = ()
    """Sections that workers have now."""
    created_ms: int
    updated_ms: int
    error: str | None = None

    def encode(self) -> bytes:
        return self.model_dump_json(exclude_none=True).encode()


@dataclass(frozen=True, slots=True)
class Draft:
    """What a model wrote for a section, and the reply's account of how."""

    text: str
    provenance: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SectionState:
    """Of one fingerprint: which request was sent last, whether its reply is still to come, and what was written.

    `attempt` only ever grows, so that each request has a correlation id of its own; `tries` counts those since the last
    success or final failure. `sent_ms` is when the pending one was sent, Unix milliseconds.
    """

    attempt: int = 0
    tries: int = 0
    pending: bool = False
    sent_ms: int = 0
    drafts: tuple[Draft, ...] = ()

    def sent(self, now_ms: int) -> "SectionState":
        return replace(self, attempt=self.attempt + 1, tries=self.tries + 1, pending=True, sent_ms=now_ms)

    def written(self, draft: Draft) -> "SectionState":
        return replace(self, pending=False, tries=0, drafts=(*self.drafts, draft))

    def failed(self, *, finally_: bool) -> "SectionState":
        return replace(self, pending=False, tries=0 if finally_ else self.tries)

    @property
    def size(self) -> int:
        """About how many bytes it takes in memory."""
        return _OVERHEAD + sum(len(draft.text) for draft in self.drafts)

    def encode(self) -> bytes:
        return orjson.dumps(
            {
                "attempt": self.attempt,
                "tries": self.tries,
                "pending": self.pending,
                "sent_ms": self.sent_ms,
                "drafts": [{"text": draft.text, "provenance": draft.provenance} for draft in self.drafts],
            }
        )

    @classmethod
    def decode(cls, value: bytes) -> "SectionState":
        """Raises `ValueError` for what this service did not write."""
        try:
            fields = orjson.loads(value)
            drafts = tuple(Draft(str(draft["text"]), dict(draft["provenance"])) for draft in fields["drafts"])
            numbers = (int(fields["attempt"]), int(fields["tries"]), bool(fields["pending"]), int(fields["sent_ms"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the state of a section: {error!r}") from None
        return cls(*numbers, drafts)


_OVERHEAD = 1_500
"""Bytes: the provenance of a draft, keys and objects."""


@dataclass(slots=True)
class Outbox:
    """What one round of events leads to: all of it is committed in one transaction."""

    requests: list["SectionRequest"] = field(default_factory=list)
    cancels: list[tuple[str, str]] = field(default_factory=list)
    """Tenant and correlation id of requests that nobody waits for any more."""
    sections: dict[str, SectionState] = field(default_factory=dict)
    status: dict[str, JobStatus] = field(default_factory=dict)
    results: list["JobResult"] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)
    """Offsets of jobs that have their result."""

    @property
    def empty(self) -> bool:
        return not (self.requests or self.cancels or self.sections or self.status or self.results or self.answered)


@dataclass(frozen=True, slots=True)
class SectionRequest:
    correlation_id: str
    body: dict[str, Any]
    deadline_ms: int
    tenant: str = ""
    job_id: str = ""


@dataclass(frozen=True, slots=True)
class JobResult:
    """`correlation_id` is the submission's, echoed."""

    job_id: str
    correlation_id: bytes
    value: bytes
