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
    of it, `parcel` the answer, `write` the turn as it was last tried to be stored. `withdrawing`: that must not stay
    stored, and the session does not go on before it is certain.
    """

    ticket: Delivery
    key: str
    stage: TurnStage = TurnStage.WAITING
    reads: int = 0
    loaded: Loaded | None = None
    conversation: Conversation | None = None
    parcel: OutgoingReply | None = None
    write: Write | None = None
    withdrawing: bool = False
    published: bool = False

    @classmethod
    def of(cls, ticket: Delivery) -> "PendingTurn":
        return cls(ticket, session_key(ticket.envelope.tenant, ticket.envelope.session))

    @property
    def record(self) -> str:
        """The request's record, for ever: in a topic that was made anew its offset comes again, at another time."""
        record = self.ticket.record
        return f"{record.source}@{record.timestamp_ms}"

    @property
    def partition(self) -> TopicPartition:
        source = self.ticket.record.source
        return TopicPartition(source.topic, source.partition)


@dataclass(slots=True)
class _Lane:
    """`troubled_since`: when Redis last began to fail it (`time.monotonic`)."""

    visits: dict[Delivery, PendingTurn] = field(default_factory=dict)
    troubled_since: float | None = None

    @property
    def first(self) -> PendingTurn:
        return next(iter(self.visits.values()))


class SessionQueues:
    """A lane for each session that has unanswered requests here. Lives on the event loop."""

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}
        self._visits: dict[Delivery, PendingTurn] = {}
        self._waiting: Counter[TopicPartition] = Counter()
        self._due: dict[PendingTurn, None] = {}
        self._any_due = asyncio.Event()

    @property
    def waiting(self) -> int:
        return self._waiting.total()

    def waiting_in(self, partition: TopicPartition) -> int:
        return self._waiting[partition]

    def visits(self) -> list[PendingTurn]:
        """All of them; of one session in the order of their arrival."""
        return list(self._visits.values())

    def get(self, ticket: Delivery) -> PendingTurn | None:
        return self._visits.get(ticket)

    def enter(self, visit: PendingTurn) -> None:
        """Join the end of the session's lane."""
        self._visits[visit.ticket] = visit
        self._lanes.setdefault(visit.key, _Lane()).visits[visit.ticket] = visit
        self._waiting[visit.partition] += 1
        self._look_at(visit.key)

    async def due(self, most: int, lane: Lane) -> list[PendingTurn]:
        """Wait until there are visits of a lane whose turn it is; they stay due until they are moved on."""
        while not (due := [visit for visit in self._due if visit.ticket.envelope.lane is lane]):
            self._any_due.clear()
            await self._any_due.wait()
        return due[:most]

    def is_due(self, visit: PendingTurn) -> bool:
        return visit in self._due

    def move(self, visit: PendingTurn, stage: TurnStage) -> None:
        """To another stage of its way; back to `WAITING` to have its history read again."""
        self._waiting[visit.partition] += (stage is TurnStage.WAITING) - (visit.stage is TurnStage.WAITING)
        visit.stage = stage
        self._due.pop(visit, None)
        self._look_at(visit.key)

    def leave(self, visit: PendingTurn) -> None:
        """It is answered and committed, or another worker's to answer: the next one's turn comes."""
        self.move(visit, TurnStage.ENDED)
        del self._visits[visit.ticket]
        lane = self._lanes[visit.key]
        del lane.visits[visit.ticket]
        if not lane.visits:
            del self._lanes[visit.key]
        self._look_at(visit.key)

    def failed(self, visit: PendingTurn, now: float) -> None:
        """Redis did not do what this visit needs; it will be due again after the others."""
        lane = self._lanes[visit.key]
        lane.troubled_since = lane.troubled_since or now
        if visit in self._due:
            del self._due[visit]
            self._due[visit] = None

    def succeeded(self, visit: PendingTurn) -> None:
        self._lanes[visit.key].troubled_since = None

    def out_of_patience(self, now: float, wait_s: float) -> list[PendingTurn]:
        """Those who need Redis and have waited for it long enough, whether it was their turn or not."""
        troubled = (lane for lane in self._lanes.values() if lane.troubled_since is not None)
        return [visit for lane in troubled for visit in _waited(lane, now - wait_s)]

    def _look_at(self, key: str) -> None:
        lane = self._lanes.get(key)
        if lane is not None and lane.first.stage is TurnStage.WAITING:
            self._due[lane.first] = None
            self._any_due.set()


def _waited(lane: _Lane, since: float) -> Iterable[PendingTurn]:
    if lane.troubled_since is None or lane.troubled_since > since:
        return
    for visit in lane.visits.values():
        if visit.stage in {TurnStage.WAITING, TurnStage.STORING} and visit.ticket.fetched_at <= since:
            yield visit
