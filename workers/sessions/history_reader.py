"""Reads the histories of those whose turn it is, as many as there are in one round trip."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from pelton.cache.sessions.store import Loaded, SessionStore, StoreFailure
from pelton.pipeline.backoff import Backoff
from pelton.pipeline.wire.contract import Lane
from pelton.workers.containment import together_async
from pelton.workers.requests import Delivery, Failed
from pelton.workers.sessions.fences import Fences
from pelton.workers.sessions.queues import PendingTurn, SessionQueues, TurnStage
from pelton.workers.sessions.turn_writer import MAX_AT_ONCE, RETRY_FIRST_S, RETRY_MAX_S


@dataclass(frozen=True, slots=True)
class HistoriesRead:
    """What became of one reading; whoever it leaves due is read again after a while."""

    loaded: list[tuple[PendingTurn, Loaded | StoreFailure]]
    broken: list[Failed]


class HistoryReader:
    """Lives on the event loop."""

    def __init__(
        self, store: SessionStore, fences: Fences, lanes: SessionQueues, is_open: Callable[[Delivery], bool]
    ) -> None:
        self._store = store
        self._fences = fences
        self._queues = lanes
        self._is_open = is_open

    async def read(self, lane: Lane) -> AsyncIterator[HistoriesRead]:
        """Read for the turns of a lane, for ever, no history before its fence is raised. Who is to go on or to end is
        moved by the caller.
        """
        backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
        while True:
            due = self._still_open(await self._queues.due(MAX_AT_ONCE, lane))
            await self._fences.raise_for(pending.delivery for pending in due)
            able = [pending for pending in due if self._fences.of(pending.delivery) is not None]
            loaded, broken = await together_async("load the session of", able, self._load, _ticket)
            reached = {pending for pending, outcome in loaded if outcome is not StoreFailure.UNAVAILABLE}
            yield HistoriesRead(loaded, broken)
            if failed := [pending for pending in due if pending not in reached and self._queues.is_due(pending)]:
                for pending in failed:
                    self._queues.failed(pending, time.monotonic())
                await asyncio.sleep(backoff.next_s())
            else:
                backoff.reset()

    def _still_open(self, due: Sequence[PendingTurn]) -> list[PendingTurn]:
        """Those that ended while they waited, late or cancelled, only wait for their result's commit."""
        for pending in due:
            if not self._is_open(pending.delivery):
                self._queues.move(pending, TurnStage.ENDED)
        return [pending for pending in due if pending.stage is TurnStage.WAITING]

    async def _load(self, all_pending: Sequence[PendingTurn]) -> list[tuple[PendingTurn, Loaded | StoreFailure]]:
        return list(zip(all_pending, await self._store.load([pending.key for pending in all_pending]), strict=True))


def _ticket(pending: PendingTurn) -> Delivery:
    return pending.delivery
