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
from pelton.workers.sessions.turn_writer import MOST_AT_ONCE, RETRY_FIRST_S, RETRY_MOST_S


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
        self._lanes = lanes
        self._is_open = is_open

    async def read(self, lane: Lane) -> AsyncIterator[HistoriesRead]:
        """Read for the turns of a lane, for ever, no history before its fence is raised. Who is to go on or to end is
        moved by the caller.
        """
        backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
        while True:
            due = self._still_open(await self._lanes.due(MOST_AT_ONCE, lane))
            await self._fences.raise_for(visit.ticket for visit in due)
            able = [visit for visit in due if self._fences.of(visit.ticket) is not None]
            loaded, broken = await together_async("load the session of", able, self._load, _ticket)
            reached = {visit for visit, outcome in loaded if outcome is not StoreFailure.UNAVAILABLE}
            yield HistoriesRead(loaded, broken)
            if failed := [visit for visit in due if visit not in reached and self._lanes.is_due(visit)]:
                for visit in failed:
                    self._lanes.failed(visit, time.monotonic())
                await asyncio.sleep(backoff.next_s())
            else:
                backoff.reset()

    def _still_open(self, due: Sequence[PendingTurn]) -> list[PendingTurn]:
        """Those that ended while they waited, late or cancelled, only wait for their result's commit."""
        for visit in due:
            if not self._is_open(visit.ticket):
                self._lanes.move(visit, TurnStage.ENDED)
        return [visit for visit in due if visit.stage is TurnStage.WAITING]

    async def _load(self, visits: Sequence[PendingTurn]) -> list[tuple[PendingTurn, Loaded | StoreFailure]]:
        return list(zip(visits, await self._store.load([visit.key for visit in visits]), strict=True))


def _ticket(visit: PendingTurn) -> Delivery:
    return visit.ticket
