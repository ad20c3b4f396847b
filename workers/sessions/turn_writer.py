"""Writes the turns of sessions into their histories, all that are waiting in one round trip, until it is done."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from time import monotonic

from pelton.cache.sessions.history import Turn
from pelton.cache.sessions.store import SessionStore, StoreFailure, Write
from pelton.pipeline.backoff import Backoff
from pelton.workers.containment import each, harmless, together_async
from pelton.workers.requests import Delivery, Failed
from pelton.workers.sessions.fences import Fences
from pelton.workers.sessions.queues import PendingTurn, SessionQueues, TurnStage

MOST_AT_ONCE = 64
"""Histories in one round trip: they may be long."""
RETRY_FIRST_S = 0.02
RETRY_MOST_S = 0.5


class TurnWriter:
    """Stores turns, and withdraws those that must not have been stored. Lives on the event loop.

    What Redis does not do is tried again until the visit is dropped; what becomes of a turn otherwise is told.
    """

    def __init__(  # noqa: PLR0913  # what it writes to, and whom it notifies
        self,
        store: SessionStore,
        fences: Fences,
        lanes: SessionQueues,
        *,
        on_stored: Callable[[PendingTurn, Turn | StoreFailure], Awaitable[None]],
        on_withdrawn: Callable[[PendingTurn], None],
        on_failed: Callable[[Failed], Awaitable[None]],
    ) -> None:
        self._store = store
        self._fences = fences
        self._lanes = lanes
        self._on_stored = on_stored
        self._on_withdrawn = on_withdrawn
        self._on_failed = on_failed
        self._unwritten: dict[PendingTurn, None] = {}
        self._arrived = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()

    def put(self, visit: PendingTurn) -> None:
        """Store the turn of a visit, or withdraw it where that is wanted."""
        self._unwritten[visit] = None
        self._arrived.set()
        self._notice()

    def drop(self, visit: PendingTurn) -> None:
        """Leave it at what has been done; a store under way may still come through."""
        self._unwritten.pop(visit, None)
        self._notice()

    async def settled(self) -> None:
        """Wait until no turn waits to be stored."""
        await self._settled.wait()

    async def run(self) -> None:
        """Write for ever."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
        while True:
            await self._arrived.wait()
            visits = list(self._unwritten)[:MOST_AT_ONCE]
            await self._fences.raise_for(visit.ticket for visit in visits)
            await self._try(visits)
            if failed := [visit for visit in visits if visit in self._unwritten]:
                self._put_back(failed)
                await asyncio.sleep(backoff.next_s())
            else:
                backoff.reset()
            if not self._unwritten:
                self._arrived.clear()

    async def _try(self, visits: Sequence[PendingTurn]) -> None:
        """What goes wrong with one is that one's, and the others are written."""
        made, broken = each("store the turn of", visits, lambda visit: (visit, self._write(visit)), _ticket)
        writes = {visit: write for visit, write in made if write is not None}
        withdrawals = {visit: write for visit, write in writes.items() if visit.withdrawing}
        turns = {visit: write for visit, write in writes.items() if not visit.withdrawing}
        broken += await self._store_turns(turns)
        for failed in broken:
            await self._on_failed(failed)
        if withdrawals:
            with harmless("withdraw the turns of sessions, which is tried again"):
                await self._withdraw(withdrawals)

    def _write(self, visit: PendingTurn) -> Write | None:
        """None for one that was dropped meanwhile, or whose fence could not be raised."""
        fence = self._fences.of(visit.ticket)
        if fence is None or visit not in self._unwritten:
            return None
        if visit.write is not None:
            return replace(visit.write, fence=fence)
        if visit.loaded is None or visit.conversation is None or visit.parcel is None:
            raise ValueError(f"{visit.record} has no answer to store")
        return Write(visit.key, fence, visit.loaded, visit.conversation.answered(visit.record, visit.parcel.body))

    async def _store_turns(self, writes: dict[PendingTurn, Write]) -> list[Failed]:
        """Returns those that could not be stored by an error of ours."""
        for visit, write in writes.items():
            visit.write = write
        visits = list(writes)

        async def store(some: Sequence[PendingTurn]) -> list[tuple[PendingTurn, Turn | StoreFailure]]:
            return list(zip(some, await self._store.store([writes[visit] for visit in some]), strict=True))

        stored, broken = await together_async("store the turn of", visits, store, _ticket)
        for visit, outcome in stored:
            write = writes[visit]
            if outcome is StoreFailure.FENCED:
                self._fences.drop(visit.ticket, write.fence)
            elif outcome is not StoreFailure.UNAVAILABLE and visit in self._unwritten and not visit.withdrawing:
                self.drop(visit)
                await self._on_stored(visit, outcome)

        return broken

    async def _withdraw(self, writes: dict[PendingTurn, Write]) -> None:
        outcomes = await self._store.withdraw(list(writes.values()))
        for (visit, write), outcome in zip(writes.items(), outcomes, strict=True):
            if outcome is StoreFailure.FENCED:
                self._fences.drop(visit.ticket, write.fence)
            elif outcome is not StoreFailure.UNAVAILABLE and visit in self._unwritten:
                self.drop(visit)
                self._on_withdrawn(visit)

    def _put_back(self, failed: Sequence[PendingTurn]) -> None:
        """Behind the others: one that fails for a reason of its own must not be in their way."""
        now = monotonic()
        for visit in failed:
            del self._unwritten[visit]
            self._unwritten[visit] = None
            self._lanes.failed(visit, now)

    def _notice(self) -> None:
        if any(visit.stage is TurnStage.STORING and not visit.withdrawing for visit in self._unwritten):
            self._settled.clear()
        else:
            self._settled.set()


def _ticket(visit: PendingTurn) -> Delivery:
    return visit.ticket
