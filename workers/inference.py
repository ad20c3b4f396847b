"""The inference thread: takes from the waiting line what the engine has room for, and turns the engine's crank.

Nothing here waits on the network, decodes text or touches Kafka; endings leave through a bounded queue.
"""

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence

from pipeline import errors
from pipeline.handoff import Handoff
from pipeline.metrics import Metrics
from pipeline.waiting import Chosen, Place, WaitingLine
from workers.engine.api import Completion, EngineRequest, FailureKind, Outcome, SamplingParams, StepEngine
from workers.jobs import Answered, Ending, Job, Refused

log = logging.getLogger(__name__)

_ERRORS: dict[FailureKind, type[errors.ExecutionError]] = {
    FailureKind.DEADLINE: errors.DeadlineExceeded,
    FailureKind.CANCELLED: errors.Cancelled,
    FailureKind.OUT_OF_MEMORY: errors.OutOfMemory,
    FailureKind.INVALID_OUTPUT: errors.InvalidOutput,
    FailureKind.INTERNAL: errors.EngineError,
}


class Inference:
    """Owns the engine from `start` on. Ends when the line closes and nothing runs any more."""

    def __init__(
        self,
        engine: StepEngine,
        line: WaitingLine[Job],
        endings: Handoff[Ending],
        metrics: Metrics,
        *,
        share_prefixes: bool = False,
    ) -> None:
        """With `share_prefixes` tenants find each other's computed prefixes, else only their own."""
        self._engine = engine
        self._share_prefixes = share_prefixes
        self._line = line
        self._endings = endings
        self._metrics = metrics
        self._ids = itertools.count()
        self._running: dict[int, tuple[Job, float]] = {}
        self._abandoned: set[int] = set()

    def start(self) -> asyncio.Future[None]:
        """Start the thread; the future ends with it and carries what it raised.

        The thread is a daemon so that an engine stuck in a kernel cannot keep a dead worker's process alive.
        """
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def body() -> None:
            try:
                self._run()
            except BaseException as error:  # noqa: BLE001  # whatever ends the thread must end the worker
                loop.call_soon_threadsafe(_fail, done, error)
            else:
                loop.call_soon_threadsafe(_succeed, done)

        threading.Thread(target=body, name="inference", daemon=True).start()
        return done

    def abandon(self, unwanted: Callable[[Job], bool]) -> int:
        """End running requests without a reply, because it is somebody else's to give. Any thread; returns how many."""
        ids = [request_id for request_id, (job, _) in list(self._running.items()) if unwanted(job)]
        self._abandoned.update(ids)
        for request_id in ids:
            self._engine.cancel(request_id)
        return len(ids)

    def _run(self) -> None:
        while True:
            places = self._line.take(self._choose, block=not self._engine.running)
            if not places and not self._engine.running:
                return
            for place in places:
                self._admit(place)
            for outcome in self._engine.step():
                self._end(outcome)
            self._observe()

    def _choose(self, places: Sequence[Place[Job]]) -> Chosen:
        selection = self._engine.select(places, time.monotonic())
        return selection.indexes, selection.retry_at

    def _admit(self, place: Place[Job]) -> None:
        job = place.item
        request_id = next(self._ids)
        self._running[request_id] = (job, time.monotonic())
        salt = "" if self._share_prefixes else job.ticket.envelope.tenant
        self._engine.add(
            EngineRequest(request_id, job.prompt, sampling_params(job), deadline=place.expires, cache_salt=salt)
        )

    def _end(self, outcome: Outcome) -> None:
        job, started = self._running.pop(outcome.request_id)
        if outcome.request_id in self._abandoned:
            self._abandoned.discard(outcome.request_id)
            return
        if isinstance(outcome, Completion):
            wait_s = started - job.ticket.fetched_at
            self._endings.put(Answered(job, outcome, wait_s, time.monotonic()))
        else:
            self._endings.put(Refused(job.ticket, _ERRORS[outcome.kind](outcome.message)))

    def _observe(self) -> None:
        self._metrics.running_requests.set(self._engine.running)
        stats = self._engine.last_step
        if stats is not None and stats.computed_tokens:
            self._metrics.batch_rows.observe(stats.rows)
            self._metrics.batch_fill.observe(stats.useful_tokens / stats.computed_tokens)


def sampling_params(job: Job) -> SamplingParams:
    """The engine's terms for what the request asked for; OpenAI's defaults where it asked for nothing."""
    request = job.request
    return SamplingParams(
        max_tokens=job.max_new_tokens,
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        seed=request.seed,
        stop=request.stop_strings,
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
    )


def _succeed(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _fail(done: asyncio.Future[None], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
