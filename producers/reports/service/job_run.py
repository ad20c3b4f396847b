"""One job under way: its plan, what is finished, and what is waited for."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pelton.producers.reports.assembly.report import JobState
from pelton.producers.reports.planning.outcome import Outcome
from pelton.producers.reports.planning.plan import Node, Plan, Request
from pelton.producers.reports.service.records import Draft, JobStatus
from pelton.producers.reports.spec.model import JobSpec


@dataclass(frozen=True, slots=True)
class Submission:
    """A record of the jobs topic. `created_ms` is the broker's time; `correlation_id` is echoed with the result."""

    offset: int
    job_id: str
    run: str
    correlation_id: bytes
    created_ms: int
    size: int
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """A node's final text. `revised`: a text with faults was written again, whichever of the two was better."""

    outcome: Outcome
    draft: Draft
    request: Request
    revised: bool


@dataclass(slots=True)
class JobRun:
    submission: Submission
    plan: Plan
    finished: dict[str, Finished] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    """Ids of nodes whose request is out, by its correlation id."""

    resting: dict[str, int] = field(default_factory=dict)
    """Nodes whose request failed, and when they may be sent again, Unix milliseconds."""

    @property
    def complete(self) -> bool:
        return len(self.finished) == len(self.plan.nodes)

    def wake(self, now_ms: int) -> bool:
        """Whether a node has rested long enough."""
        due = [node_id for node_id, until_ms in self.resting.items() if until_ms <= now_ms]
        for node_id in due:
            del self.resting[node_id]
        return bool(due)

    def ready(self) -> Iterator[Node]:
        """Nodes that have all they need and are neither finished, nor sent, nor resting."""
        busy = {*self.waiting.values(), *self.resting}
        for node in self.plan.nodes.values():
            if node.id not in self.finished and node.id not in busy and self.finished.keys() >= set(node.needs):
                yield node

    def texts(self, node: Node) -> dict[str, str]:
        """The texts of what the node needs."""
        return {needed: self.finished[needed].outcome.text for needed in node.needs}

    def status(self, state: JobState, now_ms: int, error: str | None = None) -> JobStatus:
        job = self.plan.job
        return JobStatus(
            id=self.submission.job_id,
            run=self.submission.run,
            title=job.title,
            entity=job.entity,
            period=job.period,
            state=state,
            done=len(self.finished),
            total=len(self.plan.nodes),
            running=tuple(sorted(set(self.waiting.values()))),
            created_ms=self.submission.created_ms,
            updated_ms=now_ms,
            error=error,
        )


def early_status(
    submission: Submission, job: JobSpec | None, state: JobState, now_ms: int, error: str | None
) -> JobStatus:
    """Of a job that ended before it was planned; `job` is None where it could not even be read."""
    return JobStatus(
        id=submission.job_id,
        run=submission.run,
        title=job.title if job else "",
        entity=job.entity if job else "",
        period=job.period if job else "",
        state=state,
        created_ms=submission.created_ms,
        updated_ms=now_ms,
        error=error,
    )
