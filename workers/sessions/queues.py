"""The order inside sessions: of each one's unanswered requests the first is under way, the rest wait for its commit.

A request that ended without an answer is waited for as well: uncommitted, it would be answered by the partition's next
owner, behind turns that came after it.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from aiokafka import TopicPartition

from pelton.cache.sessions.conversation import Conversation
from pelton.cache.sessions.store import Loaded, Write, session_key
from pelton.pipeline.wire.contract import Lane
from pelton.workers.requests import Delivery, OutgoingReply


class TurnStage(Enum):
    WAITING = auto()
    """For the one before it, or for its history."""
    OPEN = auto()
    """Its history is read; until it is answered it is a request like any other."""
    STORING = auto()
    """It is answered, and its turn is on its way into the history."""
    ENDED = auto()
    """Its ending is on its way to being committed."""


@dataclass(slots=True, eq=False)
class PendingTurn:
    """A request's way through its session, and what it has come by so far.

    `reads` counts how often its history was read. `loaded` is the history as it was, `conversation` what the model got
    of it, `outgoing` the answer, `write` the turn as it was last tried to be stored. `withdrawing`: that must not stay
    stored, and the session does not go on before it is certain.
    """

    delivery: Delivery
    key: str
    stage: TurnStage = TurnStage.WAITING
    reads: int = 0
    loaded: Loaded | None = None
    conversation: Conversation | None = None
    outgoing: OutgoingReply | None = None
    write: Write | None = None
    withdrawing: bool = False
    published: bool = False

    @classmethod
    def of(cls, delivery: Delivery) -> "PendingTurn":
        return cls(delivery, session_key(delivery.envelope.tenant, delivery.envelope.session))

    @property
    def record(self) -> str:
        """The request's record, for ever: in a topic that was made anew its offset comes again, at another time."""
        record = self.delivery.record
        return f"{record.source}@{record.timestamp_ms}"

    @property
    def partition(self) -> TopicPartition:
        source = self.delivery.record.source
        return TopicPartition(source.topic, source.partition)


@dataclass(slots=True)
class _Lane:
    """`troubled_since`: when Redis last began to fail it (`time.monotonic`)."""

    all_pending: dict[Delivery, PendingTurn] = field(default_factory=dict)
    troubled_since: float | None = None

    @property
    def first(self) -> PendingTurn:
        return next(iter(self.all_pending.values()))


class SessionQueues:
    """A lane for each session that has unanswered requests here. Lives on the event loop."""

    def __init__(self) -> None:
        self._queues: dict[str, _Lane] = {}
        self._visits: dict[Delivery, PendingTurn] = {}
        self._waiting: Counter[TopicPartition] = Counter()
        self._due: dict[PendingTurn, None] = {}
        self._any_due = asyncio.Event()

    def __len__(self) -> int:
        """How many are here, waiting or on their way out."""
        return len(self._visits)

    @property
    def waiting(self) -> int:
        return self._waiting.total()

    def waiting_in(self, partition: TopicPartition) -> int:
        return self._waiting[partition]

    def all_pending(self) -> list[PendingTurn]:
        """All of them; of one session in the order of their arrival."""
        return list(self._visits.values())

    def get(self, delivery: Delivery) -> PendingTurn | None:
        return self._visits.get(delivery)

    def enter(self, pending: PendingTurn) -> None:
        """Join the end of the session's lane."""
        self._visits[pending.delivery] = pending
        self._queues.setdefault(pending.key, _Lane()).all_pending[pending.delivery] = pending
        self._waiting[pending.partition] += 1
        self._look_at(pending.key)

    async def due(self, most: int, lane: Lane) -> list[PendingTurn]:
        """Wait until there are all_pending of a lane whose turn it is; they stay due until they are moved on."""
        while not (due := [pending for pending in self._due if pending.delivery.envelope.lane is lane]):
            self._any_due.clear()
            await self._any_due.wait()
        return due[:most]

    def is_due(self, pending: PendingTurn) -> bool:
        return pending in self._due

    def move(self, pending: PendingTurn, stage: TurnStage) -> None:
        """To another stage of its way; back to `WAITING` to have its history read again."""
        self._waiting[pending.partition] += (stage is TurnStage.WAITING) - (pending.stage is TurnStage.WAITING)
        pending.stage = stage
        self._due.pop(pending, None)
        self._look_at(pending.key)

    def leave(self, pending: PendingTurn) -> None:
        """It is answered and committed, or another worker's to answer: the next one's turn comes."""
        self.move(pending, TurnStage.ENDED)
        del self._visits[pending.delivery]
        lane = self._queues[pending.key]
        del lane.all_pending[pending.delivery]
        if not lane.all_pending:
            del self._queues[pending.key]
        self._look_at(pending.key)

    def failed(self, pending: PendingTurn, now: float) -> None:
        """Redis did not do what this pending needs; it will be due again after the others."""
        lane = self._queues[pending.key]
        lane.troubled_since = lane.troubled_since or now
        if pending in self._due:
            del self._due[pending]
            self._due[pending] = None

    def succeeded(self, pending: PendingTurn) -> None:
        self._queues[pending.key].troubled_since = None

    def out_of_patience(self, now: float, wait_s: float) -> list[PendingTurn]:
        """Those who need Redis and have waited for it long enough, whether it was their turn or not."""
        troubled = (lane for lane in self._queues.values() if lane.troubled_since is not None)
        return [pending for lane in troubled for pending in _waited(lane, now - wait_s)]

    def _look_at(self, key: str) -> None:
        lane = self._queues.get(key)
        if lane is not None and lane.first.stage is TurnStage.WAITING:
            self._due[lane.first] = None
            self._any_due.set()


def _waited(lane: _Lane, since: float) -> Iterable[PendingTurn]:
    if lane.troubled_since is None or lane.troubled_since > since:
        return
    for pending in lane.all_pending.values():
        if pending.stage in {TurnStage.WAITING, TurnStage.STORING} and pending.delivery.fetched_at <= since:
            yield pending
