"""The session gate: gives a session's requests their history, one after the other, and puts their turns into it.

Before a request is prepared it waits here for the commit of the one before it, and for its history. Between its answer
and its reply it waits here for its turn to be stored. Requests of other sessions, and those of none, pass by.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from weakref import WeakSet

from aiokafka import TopicPartition

from pelton.cache.sessions.conversation import Conversation
from pelton.cache.sessions.history import History, Turn
from pelton.cache.sessions.store import Loaded, SessionStore, StoreFailure
from pelton.pipeline.backoff import Backoff
from pelton.pipeline.errors import SessionUnavailable
from pelton.pipeline.linger_queue import LingerQueue, LingerQueueClosed
from pelton.pipeline.offsets import OffsetTracker, Progress
from pelton.pipeline.settings.loading import Settings
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.workers.containment import together_async
from pelton.workers.requests import CacheHit, CacheKeys, Delivery, Failed, Generated, OutgoingReply, Result
from pelton.workers.sessions.fences import Fences
from pelton.workers.sessions.queues import PendingTurn, SessionQueues, TurnStage
from pelton.workers.sessions.turn_writer import MOST_AT_ONCE, RETRY_FIRST_S, RETRY_MOST_S, TurnWriter

TURNS_PER_PLACE = 4
"""Requests that may wait for their turn in a session, for each that may wait in the line."""
MOST_READS = 5
"""A history that has changed under a request so often is being written to from elsewhere."""

_UNAVAILABLE = "The session's history cannot be reached for now: send the request again in a while."
_REFUSED = (
    "The session's history cannot be used, as the workers' Redis refuses it, which will not pass by itself: have it "
    "mended (the workers' log has the cause), or send the request without a session."
)
_DAMAGED = "The session's history is damaged and cannot be continued: begin another session."
_TOO_LONG = "The turn is longer than a session's history may be: send less at once, or send it outside of a session."
_MESSAGES = {StoreFailure.MOVED: _UNAVAILABLE, StoreFailure.TOO_LONG: _TOO_LONG}

Opened = tuple[Delivery, History]
"""A request and the history it continues."""


class SessionCoordinator:
    """Lives on the event loop; `read` and `write` run for as long as the worker does."""

    def __init__(
        self,
        *,
        store: SessionStore,
        fences: Fences,
        endings: LingerQueue[Result],
        wait_s: float,
        most_waiting: int,
    ) -> None:
        """`wait_s` is how long a request waits for Redis when that is away; `most_waiting` requests may wait here."""
        self._store = store
        self._fences = fences
        self._endings = endings
        self._wait_s = wait_s
        self._most_waiting = most_waiting
        self._lanes = SessionQueues()
        self._lost: WeakSet[OffsetTracker] = WeakSet()
        self._turns = TurnWriter(
            store,
            fences,
            self._lanes,
            on_stored=self._stored,
            on_withdrawn=self._withdrawn,
            on_failed=self._failed,
        )
        self.write = self._turns.run
        """Store the turns of those that were answered, for ever."""
        self.settled = self._turns.settled
        """Wait until every answer that was taken is passed on or given up."""
        self.go_on: Callable[[Sequence[Opened]], Awaitable[None]]
        """Prepares requests whose history was read."""
        self.pass_on: Callable[[OutgoingReply], None]
        """Publishes an answer whose turn is stored."""

    @classmethod
    def of(
        cls, settings: Settings, store: SessionStore, fences: Fences, endings: LingerQueue[Result]
    ) -> "SessionCoordinator":
        return cls(
            store=store,
            fences=fences,
            endings=endings,
            wait_s=settings.session.wait_ms / 1000,
            most_waiting=TURNS_PER_PLACE * settings.worker.max_waiting_requests,
        )

    @property
    def available(self) -> bool:
        """Whether there are sessions at all."""
        return self._store.there

    @property
    def waiting(self) -> int:
        return self._lanes.waiting

    def has_room(self, partition: TopicPartition, partitions: int) -> bool:
        """Whether more of this partition may be fetched, one of so many: a busy session holds up no other partition."""
        return self._lanes.waiting_in(partition) < max(1, self._most_waiting // partitions)

    def enter(self, ticket: Delivery) -> None:
        """Take a request in. It leaves when its ending is committed, or its partition lost."""
        if ticket.tracker not in self._lost:  # lost on the way here, it would never leave
            self._lanes.enter(PendingTurn.of(ticket))

    def opened(self, ticket: Delivery, conversation: Conversation) -> None:
        """A request is prepared: this is what the model reads of its history."""
        if visit := self._lanes.get(ticket):
            visit.conversation = conversation

    def takes(self, parcel: OutgoingReply) -> bool:
        """Whether this is an answer whose turn is to be stored first; it is passed on from here after that."""
        visit = self._lanes.get(parcel.ending.ticket)
        if visit is None or visit.stage is not TurnStage.OPEN or not isinstance(parcel.ending, Generated | CacheHit):
            return False
        visit.parcel = parcel
        self._lanes.move(visit, TurnStage.STORING)
        self._turns.put(visit)
        return True

    def published(self, parcels: Iterable[OutgoingReply]) -> None:
        """These endings are committed."""
        for parcel in parcels:
            visit = self._lanes.get(parcel.ending.ticket)
            if visit is None:
                continue
            if visit.parcel is not None and visit.parcel.value != parcel.value:
                self._withdraw(visit)  # the sender got an error in place of the answer, or nothing
            self._committed(visit)

    def reconcile(self, partition: TopicPartition, progress: Progress) -> None:
        """What the broker says is answered: of some of it the commit's outcome was unknown, or it was another's."""
        for visit in self._lanes.visits():
            if visit.partition == partition and progress.answered(visit.ticket.record.source.offset):
                self._committed(visit)

    def abandon(self, lost: Collection[OffsetTracker]) -> None:
        """Forget the requests of partitions that were lost."""
        self._lost.update(lost)
        for visit in self._lanes.visits():
            if visit.ticket.tracker in lost:
                self._turns.drop(visit)
                self._lanes.leave(visit)

    def remove_if(self, unwanted: Callable[[Delivery], bool]) -> list[Delivery]:
        """Those that wait for their history and are unwanted; they are to be refused."""
        removed = [v for v in self._lanes.visits() if v.stage is TurnStage.WAITING and unwanted(v.ticket)]
        for visit in removed:
            self._lanes.move(visit, TurnStage.ENDED)
        return [visit.ticket for visit in removed]

    def give_up(self, now: float) -> list[Failed]:
        """End those that have waited for Redis long enough. What may have been stored of them will be withdrawn."""
        message = _REFUSED if self._store.refused else _UNAVAILABLE
        return [self._refused(visit, message) for visit in self._lanes.out_of_patience(now, self._wait_s)]

    async def read(self) -> None:
        """Read the histories of those whose turn it is, for ever, and let them go on."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
        while True:
            due = await self._lanes.due(MOST_AT_ONCE)
            await self._fences.raise_for(visit.ticket for visit in due)
            able = [visit for visit in due if self._fences.of(visit.ticket) is not None]
            loaded, broken = await together_async("load the session of", able, self._load, lambda visit: visit.ticket)
            opened, endings = self._sort(loaded)
            endings += map(self._broken, broken)
            failed = [visit for visit in due if self._lanes.is_due(visit)]
            for visit in failed:
                self._lanes.failed(visit, time.monotonic())
            await self._endings.put_all(endings)
            if opened:
                await self.go_on(opened)
            if failed:
                await asyncio.sleep(backoff.next_s())
            else:
                backoff.reset()

    async def _load(self, visits: Sequence[PendingTurn]) -> list[tuple[PendingTurn, Loaded | StoreFailure]]:
        return list(zip(visits, await self._store.load([visit.key for visit in visits]), strict=True))

    def _sort(self, loaded: Iterable[tuple[PendingTurn, Loaded | StoreFailure]]) -> tuple[list[Opened], list[Result]]:
        """Who goes on, and who ends here; the others stay due."""
        opened: list[Opened] = []
        endings: list[Result] = []
        for visit, outcome in loaded:
            if not self._lanes.is_due(visit) or outcome is StoreFailure.UNAVAILABLE:
                continue
            if not isinstance(outcome, Loaded):
                endings.append(self._refused(visit, _DAMAGED))
                continue
            self._lanes.succeeded(visit)
            if turn := outcome.history.turn(visit.record):
                endings.append(self._recalled(visit, turn))
                continue
            visit.loaded = outcome
            visit.reads += 1
            self._lanes.move(visit, TurnStage.OPEN)
            opened.append((visit.ticket, outcome.history))
        return opened, endings

    async def _stored(self, visit: PendingTurn, outcome: Turn | StoreFailure) -> None:
        self._lanes.succeeded(visit)
        if isinstance(outcome, Turn) and visit.parcel is not None and outcome.answer == visit.parcel.body:
            self._lanes.move(visit, TurnStage.ENDED)
            self.pass_on(visit.parcel)
        elif isinstance(outcome, Turn):
            await self._end(self._recalled(visit, outcome))
        elif outcome is StoreFailure.MOVED and visit.reads < MOST_READS:
            visit.parcel = visit.write = None
            self._lanes.move(visit, TurnStage.WAITING)
        else:
            await self._end(self._refused(visit, _MESSAGES.get(outcome, _DAMAGED)))

    async def _end(self, ending: Result) -> None:
        with contextlib.suppress(LingerQueueClosed):  # at the end of a drain: it is left to another worker
            await self._endings.put_async(ending)

    def _recalled(self, visit: PendingTurn, turn: Turn) -> CacheHit:
        """The answer that the request was given before its reply could be committed."""
        visit.parcel = None
        self._lanes.move(visit, TurnStage.ENDED)
        return CacheHit(visit.ticket, CacheKeys(), turn.answer, CacheOutcome.BYPASS)

    def _refused(self, visit: PendingTurn, message: str) -> Failed:
        self._abort(visit)
        return Failed(visit.ticket, SessionUnavailable(message, param=contract.SESSION))

    def _broken(self, failed: Failed) -> Failed:
        """The turn of a request with which something went wrong here is over."""
        if visit := self._lanes.get(failed.ticket):
            self._abort(visit)
        return failed

    async def _failed(self, failed: Failed) -> None:
        await self._end(self._broken(failed))

    def _abort(self, visit: PendingTurn) -> None:
        visit.parcel = None
        self._turns.drop(visit)
        self._withdraw(visit)
        self._lanes.move(visit, TurnStage.ENDED)

    def _withdraw(self, visit: PendingTurn) -> None:
        """What may have been stored of it must go: errors leave a history as it was. Until then the session waits."""
        if visit.write is not None:
            self._fences.drop(visit.ticket, visit.write.fence)
            visit.withdrawing = True
            self._turns.put(visit)

    def _withdrawn(self, visit: PendingTurn) -> None:
        visit.withdrawing = False
        self._lanes.succeeded(visit)
        if visit.published:
            self._lanes.leave(visit)

    def _committed(self, visit: PendingTurn) -> None:
        visit.published = True
        if not visit.withdrawing:
            self._turns.drop(visit)
            self._lanes.leave(visit)
