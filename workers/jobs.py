"""What travels through a worker: a ticket for each record, a job for each valid request, an ending for each ticket."""

from dataclasses import dataclass

from cache.conversation import Conversation
from pipeline.contract import CacheOutcome
from pipeline.errors import PeltonError
from pipeline.headers import Envelope
from pipeline.messages import ChatRequest
from pipeline.offsets import OffsetTracker
from pipeline.records import RequestRecord
from workers.engine.api import Completion


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
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


@dataclass(frozen=True, slots=True)
class Keys:
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
class Draft:
    """A valid request with its prompt as text: enough to look its answer up.

    One of a session has its `prompt` in tokens already, which had to be counted, and the `conversation` it is made of.
    """

    ticket: Ticket
    request: ChatRequest
    text: str
    keys: Keys = Keys()
    prompt: list[int] | None = None
    conversation: Conversation | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A valid request, tokenised. `attempt` counts from 1."""

    ticket: Ticket
    request: ChatRequest
    prompt: list[int]
    max_new_tokens: int
    attempt: int = 1
    keys: Keys = Keys()


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

    @property
    def keys(self) -> Keys:
        return self.job.keys

    @property
    def outcome(self) -> CacheOutcome:
        return CacheOutcome.BYPASS if self.keys.answer is None else CacheOutcome.MISS


@dataclass(frozen=True, slots=True)
class Recalled:
    """A request answered with what was generated for an equal one: `body` is the JSON of `choices` and `usage`."""

    ticket: Ticket
    keys: Keys
    body: bytes
    outcome: CacheOutcome


@dataclass(frozen=True, slots=True)
class Resent:
    """A request that was answered before and gets the very same reply value again."""

    ticket: Ticket
    value: bytes
    outcome: CacheOutcome = CacheOutcome.RESENT


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that ends with an error reply, after as many attempts as `attempt` says.

    `goes_on` says that its generation does all the same, for others that wait for the answer.
    """

    ticket: Ticket
    error: PeltonError
    attempt: int = 1
    goes_on: bool = False


Ending = Answered | Recalled | Resent | Refused
