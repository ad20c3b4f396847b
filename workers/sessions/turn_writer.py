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

MAX_AT_ONCE = 64
"""Histories in one round trip: they may be long."""
RETRY_FIRST_S = 0.02
RETRY_MAX_S = 0.5


class TurnWriter:
    """Stores turns, and withdraws those that must not have been stored. Lives on the event loop.

    What Redis does not do is tried again until the turn is dropped; any other outcome of it goes to the callbacks.
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
        self._queues = lanes
        self._on_stored = on_stored
        self._on_withdrawn = on_withdrawn
        self._on_failed = on_failed
        self._unwritten: dict[PendingTurn, None] = {}
        self._arrived = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()

    def put(self, pending: PendingTurn) -> None:
        """Store the turn of a pending, or withdraw it where that is wanted."""
        self._unwritten[pending] = None
        self._arrived.set()
        self._notice()

    def drop(self, pending: PendingTurn) -> None:
        """Leave it at what has been done; a store under way may still come through."""
        self._unwritten.pop(pending, None)
        self._notice()

    async def settled(self) -> None:
        """Wait until no turn waits to be stored."""
        await self._settled.wait()

    async def run(self) -> None:
        """Write for ever."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
        while True:
            await self._arrived.wait()
            all_pending = list(self._unwritten)[:MAX_AT_ONCE]
            await self._fences.raise_for(pending.delivery for pending in all_pending)
            await self._try(all_pending)
            if failed := [pending for pending in all_pending if pending in self._unwritten]:
                self._put_back(failed)
                await asyncio.sleep(backoff.next_s())
            else:
                backoff.reset()
            if not self._unwritten:
                self._arrived.clear()

    async def _try(self, all_pending: Sequence[PendingTurn]) -> None:
        """What goes wrong with one is that one's, and the others are written."""
        made, broken = each("store the turn of", all_pending, lambda pending: (pending, self._write(pending)), _ticket)
        writes = {pending: write for pending, write in made if write is not None}
        withdrawals = {pending: write for pending, write in writes.items() if pending.withdrawing}
        turns = {pending: write for pending, write in writes.items() if not pending.withdrawing}
        broken += await self._store_turns(turns)
        for failed in broken:
            await self._on_failed(failed)
        if withdrawals:
            with harmless("withdraw the turns of sessions, which is tried again"):
                await self._withdraw(withdrawals)

    def _write(self, pending: PendingTurn) -> Write | None:
        """None for one that was dropped meanwhile, or whose fence could not be raised."""
        fence = self._fences.of(pending.delivery)
        if fence is None or pending not in self._unwritten:
            return None
        if pending.write is not None:
            return replace(pending.write, fence=fence)
        if pending.loaded is None or pending.conversation is None or pending.outgoing is None:
            raise ValueError(f"{pending.record} has no answer to store")
        return Write(
            pending.key, fence, pending.loaded, pending.conversation.answered(pending.record, pending.outgoing.body)
        )

    async def _store_turns(self, writes: dict[PendingTurn, Write]) -> list[Failed]:
        """Returns those that could not be stored by an error of ours."""
        for pending, write in writes.items():
            pending.write = write
        all_pending = list(writes)

        async def store(some: Sequence[PendingTurn]) -> list[tuple[PendingTurn, Turn | StoreFailure]]:
            return list(zip(some, await self._store.store([writes[pending] for pending in some]), strict=True))

        stored, broken = await together_async("store the turn of", all_pending, store, _ticket)
        for pending, outcome in stored:
            write = writes[pending]
            if outcome is StoreFailure.FENCED:
                self._fences.drop(pending.delivery, write.fence)
            elif outcome is not StoreFailure.UNAVAILABLE and pending in self._unwritten and not pending.withdrawing:
                self.drop(pending)
                await self._on_stored(pending, outcome)

        return broken

    async def _withdraw(self, writes: dict[PendingTurn, Write]) -> None:
        outcomes = await self._store.withdraw(list(writes.values()))
        for (pending, write), outcome in zip(writes.items(), outcomes, strict=True):
            if outcome is StoreFailure.FENCED:
                self._fences.drop(pending.delivery, write.fence)
            elif outcome is not StoreFailure.UNAVAILABLE and pending in self._unwritten:
                self.drop(pending)
                self._on_withdrawn(pending)

    def _put_back(self, failed: Sequence[PendingTurn]) -> None:
        """Behind the others: one that fails for a reason of its own must not be in their way."""
        now = monotonic()
        for pending in failed:
            del self._unwritten[pending]
            self._unwritten[pending] = None
            self._queues.failed(pending, now)

    def _notice(self) -> None:
        if any(pending.stage is TurnStage.STORING and not pending.withdrawing for pending in self._unwritten):
            self._settled.clear()
        else:
            self._settled.set()


def _ticket(pending: PendingTurn) -> Delivery:
    return pending.delivery
