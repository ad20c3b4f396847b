"""An engine that computes nothing itself: it passes requests on to endpoints, as many at once as they carry.

The calls are made on an event loop in a thread of its own, where connections are kept and endpoints looked after also
while nothing is asked. The inference thread hands requests over and takes outcomes away, as with any engine.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from pelton.workers.engine.api import (
    EngineRequest,
    Failure,
    FailureKind,
    Outcome,
    Selection,
    Waiting,
)
from pelton.workers.engine.stats import StepStats
from pelton.workers.remote.endpoint import Endpoint
from pelton.workers.remote.sending import Sending

log = logging.getLogger(__name__)

Made = TypeVar("Made")
SendingFactory = Callable[[Callable[[], None]], Coroutine[Any, Any, Sending]]
"""Takes what is to be called when there may be room where none was."""

NO_BOUND = 2**31
"""Tokens; where the endpoint alone knows how many it holds."""
LOOK_S = 0.005
"""How often the waiting line is looked at while there is room for what may come."""
STEP_S = 0.25
"""How long a step waits for an outcome while there is none: cancels and room end it sooner."""
CLOSE_S = 5.0


class RemoteEngine:
    """Implements `StepEngine`."""

    def __init__(self, make_sending: SendingFactory, context_tokens: int | None = None) -> None:
        """Starts the thread; `make_sending` is awaited on its loop."""
        self.context_length = context_tokens or NO_BOUND
        self.max_request_tokens = NO_BOUND
        self._outcomes: SimpleQueue[Outcome | None] = SimpleQueue()
        self._tasks: dict[int, asyncio.Task[Outcome]] = {}
        self._handed_over: set[int] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoints", daemon=True)
        self._thread.start()
        self._sending = self._on_loop(make_sending(lambda: self._outcomes.put(None)))

    @property
    def running(self) -> int:
        return len(self._handed_over)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """To be read from any thread."""
        return self._sending.pool.endpoints

    @property
    def last_step(self) -> StepStats | None:
        return None

    def warm_up(self) -> None:
        """Endpoints are asked when there is something to ask: one that is away now may be back by then."""

    def select(self, waiting: Sequence[Waiting], now: float) -> Selection:
        """From the front, as many as the endpoints have places for."""
        room = min(self._room(now), len(waiting))
        return Selection(tuple(range(room)), None if room else now + STEP_S)

    def add(self, request: EngineRequest) -> None:
        self._handed_over.add(request.id)
        self._loop.call_soon_threadsafe(self._start, request)

    def cancel(self, request_id: int) -> None:
        self._loop.call_soon_threadsafe(self._cancel, request_id)

    def step(self) -> list[Outcome]:
        """Wait a little for something to end; return all that has."""
        found: list[Outcome | None] = []
        try:
            found.append(self._outcomes.get(timeout=LOOK_S if self._room(time.monotonic()) else STEP_S))
            while True:
                found.append(self._outcomes.get_nowait())
        except Empty:
            outcomes = [outcome for outcome in found if outcome is not None]
        self._handed_over.difference_update(outcome.request_id for outcome in outcomes)
        return outcomes

    def close(self) -> None:
        """Break off what is under way and close the connections."""
        self._on_loop(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self._loop.close()

    def _room(self, now: float) -> int:
        """What is handed over and with no endpoint yet is on its way to one, or waits."""
        pool = self._sending.pool
        return max(0, pool.room(now) - max(0, self.running - pool.running))

    def _start(self, request: EngineRequest) -> None:
        task = self._loop.create_task(self._sending.answer(request))
        self._tasks[request.id] = task
        task.add_done_callback(lambda _: self._ended(request.id))

    def _cancel(self, request_id: int) -> None:
        if task := self._tasks.get(request_id):
            task.cancel()

    def _ended(self, request_id: int) -> None:
        task = self._tasks.pop(request_id)
        if task.cancelled():
            outcome: Outcome = Failure(request_id, FailureKind.CANCELLED, "The request was cancelled.")
        elif (error := task.exception()) is not None:
            log.error("asking an endpoint ended by an error of this worker's own", exc_info=error)
            message = f"The worker failed to ask an endpoint ({type(error).__name__})."
            outcome = Failure(request_id, FailureKind.INTERNAL, message)
        else:
            outcome = task.result()
        self._outcomes.put(outcome)

    async def _close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._sending.close()

    def _on_loop(self, work: Coroutine[Any, Any, Made]) -> Made:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CLOSE_S)
