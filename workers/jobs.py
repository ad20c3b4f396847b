"""What travels through a worker: a ticket for each record, a job for each valid request, an ending for each ticket."""

from dataclasses import dataclass

from pipeline.errors import PeltonError
from pipeline.headers import Envelope
from pipeline.messages import ChatRequest
from pipeline.offsets import OffsetTracker
from pipeline.records import RequestRecord
from workers.engine.api import Completion


@dataclass(frozen=True, slots=True)
class Ticket:
    """A fetched record that is owed a reply.

    `tracker` belongs to one stretch of owning the partition: when the partition's current tracker is another one, the
    record is somebody else's by now and its ending is dropped. `fetched_at` is on `time.monotonic`'s clock, `queue_s`
    what the record had waited in Kafka before.
    """

    record: RequestRecord
    envelope: Envelope
    tracker: OffsetTracker
    fetched_at: float
    queue_s: float


@dataclass(frozen=True, slots=True)
class Job:
    """A valid request, tokenised. `attempt` counts from 1."""

    ticket: Ticket
    request: ChatRequest
    prompt: list[int]
    max_new_tokens: int
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Answered:
    """A job's completion. `batch_wait_s` is from fetch to engine, `finished_at` on `time.monotonic`'s clock.

    `attempt` says which it was, those that ended with their worker included.
    """

    job: Job
    completion: Completion
    batch_wait_s: float
    finished_at: float
    attempt: int = 1

    @property
    def ticket(self) -> Ticket:
        return self.job.ticket


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that ends with an error reply, after as many attempts as `attempt` says."""

    ticket: Ticket
    error: PeltonError
    attempt: int = 1


Ending = Answered | Refused
