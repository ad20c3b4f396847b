"""The session gate: gives a session's requests their history, one after the other, and puts their turns into it.

Before a request is prepared it waits here for the commit of the one before it, and for its history. Between its answer
and its reply it waits here for its turn to be stored. Requests of other sessions, and those of none, pass by.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Iterable

from aiokafka import TopicPartition

from pelton.cache.sessions.conversation import Conversation
from pelton.cache.sessions.history import History, Turn
from pelton.cache.sessions.store import Loaded, SessionStore, StoreFailure
from pelton.pipeline.errors import SessionUnavailable
from pelton.pipeline.linger_queue import LingerQueueClosed
from pelton.pipeline.offsets import OffsetTracker, Progress
from pelton.pipeline.settings.loading import Settings
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.contract import CacheOutcome, Lane
from pelton.workers.open_requests import OpenRequests
from pelton.workers.requests import CacheHit, CacheKeys, Delivery, Failed, Generated, OutgoingReply, Result
from pelton.workers.sessions import messages
from pelton.workers.sessions.fences import Fences
from pelton.workers.sessions.history_reader import HistoryReader
from pelton.workers.sessions.queues import PendingTurn, SessionQueues, TurnStage
from pelton.workers.sessions.turn_writer import TurnWriter

TURNS_PER_PLACE = 4
"""Requests that may wait for their turn in a session, for each that may wait in the line."""
MAX_READS = 5
"""A history that has changed under a request so often is being written to from elsewhere."""

Opened = tuple[Delivery, History]
"""A request and the history it continues."""


class SessionCoordinator:
    """Lives on the event loop. While a request waits for its history it is open as any other; from its answer on it is
    not, until its turn cannot be stored and it is open again.
    """

    def __init__(
        self,
        *,
        store: SessionStore,
        fences: Fences,
        open_requests: OpenRequests,
        wait_s: float,
        most_waiting: int,
    ) -> None:
        """`wait_s` is how long a request waits for Redis when that is away; `most_waiting` requests may wait here."""
        self._store = store
        self._fences = fences
        self._open = open_requests
        self._wait_s = wait_s
        self._most_waiting = most_waiting
        self._queues = SessionQueues()
        self._passed: asyncio.Queue[OutgoingReply] = asyncio.Queue()
        self._reader = HistoryReader(store, fences, self._queues, open_requests.__contains__)
        self._turns = TurnWriter(
            store,
            fences,
            self._queues,
            on_stored=self._stored,
            on_withdrawn=self._withdrawn,
            on_failed=self._failed,
        )

    @classmethod
    def of(
        cls, settings: Settings, store: SessionStore, fences: Fences, open_requests: OpenRequests
    ) -> "SessionCoordinator":
        return cls(
            store=store,
            fences=fences,
            open_requests=open_requests,
            wait_s=settings.session.wait_ms / 1000,
            most_waiting=TURNS_PER_PLACE * settings.worker.max_waiting_requests,
        )

    @property
    def available(self) -> bool:
        """Whether there are sessions at all."""
        return self._store.there

    @property
    def waiting(self) -> int:
        return self._queues.waiting

    def has_room(self, partition: TopicPartition, partitions: int) -> bool:
        """Whether more of this partition may be fetched, one of so many: a busy session holds up no other partition."""
        return self._queues.waiting_in(partition) < max(1, self._most_waiting // partitions)

    def enter(self, delivery: Delivery) -> None:
        """Take a request in. It leaves when its result is committed, or its partition lost."""
        if delivery in self._open:  # lost on the way here, it would never leave
            self._queues.enter(PendingTurn.of(delivery))

    def opened(self, delivery: Delivery, conversation: Conversation) -> None:
        """A request is prepared: this is what the model reads of its history."""
        if pending := self._queues.get(delivery):
            pending.conversation = conversation

    def takes(self, outgoing: OutgoingReply) -> bool:
        """Whether this is an answer whose turn is to be stored first; it is passed on from here after that."""
        pending = self._queues.get(outgoing.ending.delivery)
        if (
            pending is None
            or pending.stage is not TurnStage.OPEN
            or not isinstance(outgoing.ending, Generated | CacheHit)
        ):
            return False
        pending.outgoing = outgoing
        self._queues.move(pending, TurnStage.STORING)
        self._turns.put(pending)
        return True

    def published(self, all_outgoing: Iterable[OutgoingReply]) -> None:
        """These endings are committed."""
        if not self._queues:
            return
        for outgoing in all_outgoing:
            pending = self._queues.get(outgoing.ending.delivery)
            if pending is None:
                continue
            if pending.outgoing is not None and pending.outgoing.value != outgoing.value:
                self._withdraw(pending)  # the sender got an error in place of the answer, or nothing
            self._committed(pending)

    def reconcile(self, partition: TopicPartition, progress: Progress) -> None:
        """What the broker says is answered: of some of it the commit's outcome was unknown, or it was another's."""
        for pending in self._queues.all_pending():
            if pending.partition == partition and progress.answered(pending.delivery.record.source.offset):
                self._open.remove(pending.delivery)
                self._committed(pending)

    def abandon(self, lost: Collection[OffsetTracker]) -> None:
        """Forget the requests of partitions that were lost."""
        for pending in self._queues.all_pending():
            if pending.delivery.tracker in lost:
                self._turns.drop(pending)
                self._queues.leave(pending)

    def give_up(self, now: float) -> list[Failed]:
        """End those that have waited for Redis long enough. What may have been stored of them will be withdrawn."""
        message = messages.REFUSED if self._store.refused else messages.UNAVAILABLE
        return [self._refused(pending, message) for pending in self._queues.out_of_patience(now, self._wait_s)]

    async def write(self) -> None:
        """Store the turns of those that were answered, for ever."""
        await self._turns.run()

    async def stored(self) -> AsyncIterator[OutgoingReply]:
        """The replies whose turns are stored, for ever: they may be sent."""
        while True:
            yield await self._passed.get()
            self._passed.task_done()

    async def settled(self) -> None:
        """Wait until every answer that was taken is passed on or given up."""
        await self._turns.settled()
        await self._passed.join()

    async def ready(self, lane: Lane) -> AsyncIterator[list[Opened]]:
        """Those of a lane whose turn it is and whose history is read, for ever: they may be prepared."""
        async for read in self._reader.read(lane):
            opened, results = self._sort(read.loaded)
            await self._open.end([*results, *map(self._broken, read.broken)])
            if opened:
                yield opened

    def _sort(self, loaded: Iterable[tuple[PendingTurn, Loaded | StoreFailure]]) -> tuple[list[Opened], list[Result]]:
        """Who goes on, and who ends here; the others stay due."""
        opened: list[Opened] = []
        results: list[Result] = []
        for pending, outcome in loaded:
            if not self._queues.is_due(pending) or outcome is StoreFailure.UNAVAILABLE:
                continue
            if not isinstance(outcome, Loaded):
                results.append(self._refused(pending, messages.DAMAGED))
                continue
            self._queues.succeeded(pending)
            if turn := outcome.history.turn(pending.record):
                results.append(self._recalled(pending, turn))
                continue
            pending.loaded = outcome
            pending.reads += 1
            self._queues.move(pending, TurnStage.OPEN)
            opened.append((pending.delivery, outcome.history))
        return opened, results

    async def _stored(self, pending: PendingTurn, outcome: Turn | StoreFailure) -> None:
        self._queues.succeeded(pending)
        if isinstance(outcome, Turn) and pending.outgoing is not None and outcome.answer == pending.outgoing.body:
            self._queues.move(pending, TurnStage.ENDED)
            self._passed.put_nowait(pending.outgoing)
        elif isinstance(outcome, Turn):
            await self._end(self._recalled(pending, outcome))
        elif outcome is StoreFailure.MOVED and pending.reads < MAX_READS:
            self._open.add(pending.delivery)
            pending.outgoing = pending.write = None
            self._queues.move(pending, TurnStage.WAITING)
        else:
            await self._end(self._refused(pending, messages.OF_FAILURE.get(outcome, messages.DAMAGED)))

    async def _end(self, result: Result) -> None:
        with contextlib.suppress(LingerQueueClosed):  # at the end of a drain: it is left to another worker
            await self._open.end([result])

    def _recalled(self, pending: PendingTurn, turn: Turn) -> CacheHit:
        """The answer that the request was given before its reply could be committed."""
        self._reopen(pending)
        self._queues.move(pending, TurnStage.ENDED)
        return CacheHit(pending.delivery, CacheKeys(), turn.answer, CacheOutcome.BYPASS)

    def _refused(self, pending: PendingTurn, message: str) -> Failed:
        self._abort(pending)
        return Failed(pending.delivery, SessionUnavailable(message, param=contract.SESSION))

    def _broken(self, failed: Failed) -> Failed:
        """The turn of a request with which something went wrong here is over."""
        if pending := self._queues.get(failed.delivery):
            self._abort(pending)
        return failed

    async def _failed(self, failed: Failed) -> None:
        await self._end(self._broken(failed))

    def _reopen(self, pending: PendingTurn) -> None:
        """The answer that it was given is not to be sent."""
        if pending.stage is TurnStage.STORING:
            self._open.add(pending.delivery)
        pending.outgoing = None

    def _abort(self, pending: PendingTurn) -> None:
        self._reopen(pending)
        self._turns.drop(pending)
        self._withdraw(pending)
        self._queues.move(pending, TurnStage.ENDED)

    def _withdraw(self, pending: PendingTurn) -> None:
        """What may have been stored of it must go: errors leave a history as it was. Until then the session waits."""
        if pending.write is not None:
            self._fences.drop(pending.delivery, pending.write.fence)
            pending.withdrawing = True
            self._turns.put(pending)

    def _withdrawn(self, pending: PendingTurn) -> None:
        pending.withdrawing = False
        self._queues.succeeded(pending)
        if pending.published:
            self._queues.leave(pending)

    def _committed(self, pending: PendingTurn) -> None:
        pending.published = True
        if not pending.withdrawing:
            self._turns.drop(pending)
            self._queues.leave(pending)
