"""The inference thread: takes from the waiting line what the engine has room for, and turns the engine's crank.

Nothing here waits on the network, decodes text or touches Kafka; endings leave through a bounded queue. What joins the
engine is in the guard's journal until it has left, so that a crash can be blamed on somebody.
"""

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pelton.pipeline import errors
from pelton.pipeline.linger_queue import LingerQueue
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.request_queue import Chosen, QueuedRequest, RequestQueue
from pelton.workers.containment import refusal
from pelton.workers.engine.api import (
    Completion,
    EngineRequest,
    Failure,
    FailureKind,
    FinishReason,
    Outcome,
    Selection,
    StepEngine,
)
from pelton.workers.inference.crash_protection import CrashProtection
from pelton.workers.inference.retries import Retries
from pelton.workers.inference.step_metrics import StepMetrics
from pelton.workers.prepare.cache_keys import chosen_again
from pelton.workers.prepare.sampling_params import sampling_params
from pelton.workers.quarantine.crash_history import NO_CRASHES, CrashHistory
from pelton.workers.quarantine.isolation import QuarantinePolicy
from pelton.workers.requests import Failed, Generated, PreparedRequest, Result, TokenListener

log = logging.getLogger(__name__)

_ERRORS: dict[FailureKind, type[errors.ExecutionError]] = {
    FailureKind.DEADLINE: errors.DeadlineExceeded,
    FailureKind.CANCELLED: errors.Cancelled,
    FailureKind.OUT_OF_MEMORY: errors.OutOfMemory,
    FailureKind.INVALID_OUTPUT: errors.InvalidOutput,
    FailureKind.INTERNAL: errors.EngineError,
}


class EngineFailed(Exception):
    """The engine raised: its state is unknown, and what ran in it may be the cause."""


@dataclass(frozen=True, slots=True)
class _Running:
    place: QueuedRequest[PreparedRequest]
    blame: CrashHistory
    slot: int | None
    started: float
    listener: TokenListener | None

    @property
    def attempt(self) -> int:
        """Which attempt this is, those that ended with their worker included."""
        return self.blame.crashes + self.place.item.attempt


class Inference:
    """Owns the engine from `start` on. Ends when the line closes and nothing runs any more."""

    def __init__(  # noqa: PLR0913  # the parts that meet on the inference thread
        self,
        engine: StepEngine,
        line: RequestQueue[PreparedRequest],
        endings: LingerQueue[Result],
        metrics: Metrics,
        guard: CrashProtection | None = None,
        *,
        share_prefixes: bool = False,
        cleared: Callable[
            [Sequence[QueuedRequest[PreparedRequest]], Sequence[int]], Sequence[int]
        ] = lambda _, chosen: chosen,
        listen: Callable[[PreparedRequest, int], TokenListener | None] = lambda _job, _attempt: None,
    ) -> None:
        """With `share_prefixes` tenants find each other's computed prefixes, else only their own.

        `cleared` says which of the chosen may run already; it is called with the line locked. `listen` says who
        follows the tokens of a request's attempt, if anybody does.
        """
        self._engine = engine
        self._share_prefixes = share_prefixes
        self._cleared = cleared
        self._listen = listen
        self._line = line
        self._endings = endings
        self._metrics = StepMetrics(metrics)
        self._guard = guard or CrashProtection()
        self._isolation = QuarantinePolicy(self._guard.max_lone_crashes)
        self._refused: dict[int, Failed] = {}
        self._retries = Retries(line, self._guard.retry)
        self._ids = itertools.count()
        self._running: dict[int, _Running] = {}
        self._abandoned: set[int] = set()

    def start(self) -> asyncio.Future[None]:
        """Start the thread; the future ends with it and carries what it raised.

        The thread is a daemon so that an engine stuck in a kernel cannot keep a dead worker's process alive.
        """
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        retrying = loop.create_task(self._retries.run())
        retrying.add_done_callback(lambda task: _fail_with(done, task))
        done.add_done_callback(lambda _: retrying.cancel())

        def body() -> None:
            try:
                self._run()
            except BaseException as error:  # noqa: BLE001  # whatever ends the thread must end the worker
                loop.call_soon_threadsafe(_fail, done, error)
            else:
                loop.call_soon_threadsafe(_succeed, done)

        threading.Thread(target=body, name="inference", daemon=True).start()
        return done

    def abandon(self, unwanted: Callable[[PreparedRequest], bool]) -> int:
        """End running requests without a reply, because it is somebody else's to give. Any thread; returns how many."""
        self._retries.remove(unwanted)
        ids = self._ids_of(unwanted)
        self._abandoned.update(ids)
        for request_id in ids:
            self._engine.cancel(request_id)
        return len(ids)

    def cancel(self, unwanted: Callable[[PreparedRequest], bool]) -> list[QueuedRequest[PreparedRequest]]:
        """End running requests early, as cancelled; return those that only waited for another attempt. Any thread."""
        for request_id in self._ids_of(unwanted):
            self._engine.cancel(request_id)
        return self._retries.remove(unwanted)

    def _ids_of(self, wanted: Callable[[PreparedRequest], bool]) -> list[int]:
        return [request_id for request_id, running in list(self._running.items()) if wanted(running.place.item)]

    def _run(self) -> None:
        while True:
            places = self._line.take(self._choose, block=not self._engine.running)
            if not places and not self._engine.running:
                return
            for place in places:
                if id(place) in self._refused:
                    self._endings.put(self._refused[id(place)])
            began = time.monotonic()
            for outcome in self._step([place for place in places if id(place) not in self._refused]):
                self._end(outcome)
            self._metrics.observe(self._engine.last_step, self._engine.running, time.monotonic() - began)

    def _choose(self, places: Sequence[QueuedRequest[PreparedRequest]]) -> Chosen:
        """Which are to leave the line now: to run, or to be refused."""
        now = time.monotonic()
        self._refused = {}
        if not self._guard.suspects:
            selection, failed = self._select(places, range(len(places)), now)
            return (*failed, *self._cleared(places, selection.indexes)), selection.retry_at
        blames = [self._blame(place) for place in places]
        offer = self._isolation.offer(blames, running=len(self._running), now=now)
        for index in offer.condemned:
            self._refused[id(places[index])] = _poison(places[index], blames[index] or NO_CRASHES)
        selection, failed = self._select(places, offer.candidates, now)
        cleared = self._cleared(places, selection.indexes)
        if offer.suspects and cleared:
            self._isolation.began()
        chosen = (*offer.condemned, *failed, *cleared)
        looks = [look for look in (offer.look_again, selection.retry_at) if look is not None]
        return chosen, min(looks, default=None)

    def _blame(self, place: QueuedRequest[PreparedRequest]) -> CrashHistory | None:
        ticket = place.item.ticket
        return self._guard.suspects.get(ticket.record.source, ticket.sent_ms)

    def _select(
        self, places: Sequence[QueuedRequest[PreparedRequest]], candidates: Sequence[int], now: float
    ) -> tuple[Selection, list[int]]:
        """What the engine takes of the candidates, and those that it cannot even look at, which are refused."""
        failed: list[int] = []
        try:
            selection = self._engine.select([places[index] for index in candidates], now)
        except Exception:
            failed = [index for index in candidates if not self._can_be_selected(places[index], now)]
            if not failed:  # it is the engine's own trouble
                raise
            candidates = [index for index in candidates if index not in failed]
            selection = self._engine.select([places[index] for index in candidates], now)
        return replace(selection, indexes=tuple(candidates[index] for index in selection.indexes)), failed

    def _can_be_selected(self, place: QueuedRequest[PreparedRequest], now: float) -> bool:
        try:
            self._engine.select([place], now)
        except Exception as error:  # noqa: BLE001  # it is this request's
            self._refused[id(place)] = refusal(error, "select", place.item.ticket)
            return False
        return True

    def _step(self, admitted: Sequence[QueuedRequest[PreparedRequest]]) -> list[Outcome]:
        try:
            with self._guard.steps:
                for place in admitted:
                    self._admit_or_refuse(place)
                return self._engine.step()
        except Exception as error:
            self._guard.on_engine_failure(error)
            raise EngineFailed(f"the engine failed: {error!r}") from error

    def _admit_or_refuse(self, place: QueuedRequest[PreparedRequest]) -> None:
        request_id = next(self._ids)
        try:
            self._admit(request_id, place)
        except Exception as error:  # noqa: BLE001  # an engine that is broken says so in its next step
            running = self._running.pop(request_id, None)
            if running is not None:
                self._guard.journal.leave(running.slot)
            self._endings.put(refusal(error, "start", place.item.ticket))

    def _admit(self, request_id: int, place: QueuedRequest[PreparedRequest]) -> None:
        job = place.item
        blame = self._blame(place) or NO_CRASHES
        slot = self._guard.journal.enter(job.ticket.record.source, blame)
        listener = self._listen(job, blame.crashes + job.attempt)
        self._running[request_id] = _Running(place, blame, slot, time.monotonic(), listener)
        if job.attempt == 1:
            self._retries.earn(place.tokens)
        salt = "" if self._share_prefixes else job.ticket.envelope.tenant
        params = sampling_params(job.request, job.max_new_tokens)
        params = chosen_again(params) if job.again else params
        grammar = None if job.form is None else job.form.grammar
        request = EngineRequest(
            request_id, job.prompt, params, place.expires, cache_salt=salt, grammar=grammar, text=job.text,
            on_token=None if listener is None else listener.token,
            on_text=None if listener is None else listener.text,
        )  # fmt: skip
        self._engine.add(request)

    def _end(self, outcome: Outcome) -> None:
        running = self._running.pop(outcome.request_id, None)
        if running is None:  # refused when it was handed over, and taken in all the same
            return
        self._guard.journal.leave(running.slot)
        if running.listener is not None:
            running.listener.ended(outcome)
        if outcome.request_id in self._abandoned:
            self._abandoned.discard(outcome.request_id)
            return
        try:
            if isinstance(outcome, Completion):
                self._end_complete(running, outcome)
            else:
                self._end_failed(running, outcome)
        except Exception as error:  # noqa: BLE001  # such as a schema that cannot be compared: it is this request's
            self._endings.put(refusal(error, "end", running.place.item.ticket))

    def _end_complete(self, running: _Running, completion: Completion) -> None:
        job = running.place.item
        fault = _fault(job, completion)
        if fault is None:
            wait_s = running.started - job.ticket.fetched_at
            self._endings.put(Generated(job, completion, wait_s, time.monotonic(), running.attempt))
        elif job.again:
            message = f"Two answers did not match the schema, parts of which no grammar can hold an answer to; {fault}."
            self._endings.put(Failed(job.ticket, errors.InvalidOutput(message), running.attempt))
        else:
            log.info(
                "%s gets another answer, as the first did not match: %s",
                *(job.ticket.record.source, fault), extra=job.ticket.log_fields,
            )  # fmt: skip
            self._retries.add(replace(running.place, item=replace(job, again=True)))

    def _end_failed(self, running: _Running, failure: Failure) -> None:
        job = running.place.item
        if not self._retries.policy.allows(failure.kind, job.attempt):
            self._endings.put(Failed(job.ticket, _error_of(failure), running.attempt))
            return
        log.warning(
            "%s failed in attempt %d of %d and is tried again: %s",
            job.ticket.record.source, job.attempt, self._retries.policy.max_attempts, failure.message,
            extra=job.ticket.log_fields,
        )  # fmt: skip
        self._retries.add(running.place)


def _error_of(failure: Failure) -> errors.PeltonError:
    if failure.kind is FailureKind.REFUSED:
        return errors.request_error(failure.code)(failure.message, param=failure.param)
    return _ERRORS[failure.kind](failure.message)


def _fault(job: PreparedRequest, completion: Completion) -> str | None:
    """What the form asked for misses in one of the answers; one that was cut has no form to be compared."""
    if job.form is None or job.request.stop_strings:
        return None
    whole = [each for each in completion.all if each.finish_reason is FinishReason.STOP]
    return next((fault for each in whole if (fault := job.form.fault(each.token_ids)) is not None), None)


def _poison(place: QueuedRequest[PreparedRequest], blame: CrashHistory) -> Failed:
    error = errors.PoisonRecord(
        f"The worker that ran this request ended unexpectedly {blame.crashes} times, {blame.alone} times with no "
        "other request running: it is not tried again."
    )
    return Failed(place.item.ticket, error, blame.crashes)


def _fail_with(done: asyncio.Future[None], task: asyncio.Task[None]) -> None:
    """What brings requests back must not end by an error unnoticed."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _fail(done, error)


def _succeed(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _fail(done: asyncio.Future[None], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
