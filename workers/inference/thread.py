"""The inference thread: takes from the queue what the engine has room for, and calls the engine's `step()`.

Nothing here waits on the network, decodes text or touches Kafka; what is finished leaves through a bounded queue. What
joins the engine is in the journal until it has left, so that a crash can be blamed on somebody.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from queue import SimpleQueue
from types import MappingProxyType

from pelton.pipeline.linger_queue import LingerQueue
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.request_queue import Chosen, QueuedRequest, RequestQueue
from pelton.workers.containment import fault
from pelton.workers.engine.api import EngineRequest, Outcome, StepEngine
from pelton.workers.fairness.speed import SpeedMeter
from pelton.workers.inference.attempts import Attempt, AttemptEnds
from pelton.workers.inference.batch_selection import BatchSelection, Runnable
from pelton.workers.inference.crash_protection import CrashProtection
from pelton.workers.inference.retries import Retries
from pelton.workers.inference.step_metrics import StepMetrics
from pelton.workers.inference.thread_future import ends_with, start_thread
from pelton.workers.prepare.cache_keys import chosen_again
from pelton.workers.prepare.sampling_params import sampling_params
from pelton.workers.quarantine.crash_history import NO_CRASHES
from pelton.workers.requests import Delivery, PreparedRequest, TokenListener
from pelton.workers.sharing.generation import Broken, Finished, Generation


class EngineFailed(Exception):
    """The engine raised: its state is unknown, and what ran in it may be the cause."""


class Inference:
    """Owns the engine from `start` on. Ends when the queue closes and nothing runs any more."""

    def __init__(  # noqa: PLR0913  # the parts that meet on the inference thread
        self,
        engine: StepEngine,
        queue: RequestQueue[Generation],
        results: LingerQueue[Finished],
        metrics: Metrics,
        protection: CrashProtection,
        *,
        left: SimpleQueue[Generation],
        runnable: Runnable = lambda _, chosen: chosen,
        share_prefixes: bool = False,
        tenant_weights: Mapping[str, float] = MappingProxyType({}),
        speed: SpeedMeter | None = None,
        listen: Callable[[PreparedRequest, int], TokenListener | None] = lambda _job, _attempt: None,
    ) -> None:
        """With `share_prefixes` tenants find each other's computed prefixes, else only their own.

        `left` gives the generations that lost whoever had waited longest: where that was the last one they are ended.
        `speed` learns how fast the queue is worked off. `listen` says who follows the tokens of a request's attempt, if
        anybody does.
        """
        self._engine = engine
        self._share_prefixes = share_prefixes
        self._queue = queue
        self._results = results
        self._metrics = StepMetrics(metrics)
        self._protection = protection
        self._left = left
        self._listen = listen
        self._speed = speed or SpeedMeter()
        self._selection = BatchSelection(
            engine, protection.suspects, protection.max_lone_crashes, runnable, tenant_weights, self._speed
        )
        self._retries = Retries(queue, protection.retry)
        self._ends = AttemptEnds(results, self._retries)
        self._ids = itertools.count()
        self._running: dict[int, Attempt] = {}
        self._any_unwanted = False

    @property
    def running(self) -> list[Generation]:
        """Generations in the engine. Any thread."""
        return [each.generation for each in list(self._running.values())]

    def start(self) -> asyncio.Future[None]:
        """Start the thread; the future ends with it and carries what it raised."""
        retrying = asyncio.create_task(self._retries.run())
        done = start_thread(self._run, "inference")
        ends_with(done, retrying)
        return done

    def _run(self) -> None:
        while True:
            taken = self._queue.take(self._choose, block=not self._engine.running)
            if not taken and not self._engine.running:
                return
            if not self._left.empty():
                self._follow_waiters()
            began = time.monotonic()
            for outcome in self._step([each for each in taken if self._is_to_run(each.item)]):
                self._end(outcome)
            self._speed.look(waits=len(self._queue) > 0)
            self._metrics.observe(self._engine.last_step, self._engine.running, time.monotonic() - began)

    def _choose(self, queued: Sequence[QueuedRequest[Generation]]) -> Chosen:
        """What runs or is refused, and what nobody waits for any more, which is looked for when somebody has left."""
        if self._left.empty() and not self._any_unwanted:
            return self._selection.choose(queued, len(self._running))
        self._any_unwanted = False
        wanted = [index for index, each in enumerate(queued) if each.item.wanted]
        chosen, look_again = self._selection.choose([queued[index] for index in wanted], len(self._running))
        unwanted = set(range(len(queued))).difference(wanted)
        return (*unwanted, *(wanted[index] for index in chosen)), look_again

    def _is_to_run(self, generation: Generation) -> bool:
        if not generation.wanted:
            return False
        if (refusal := self._selection.refused.get(generation)) is not None:
            self._results.put(refusal)
        return refusal is None

    def _follow_waiters(self) -> None:
        """End what nobody waits for any more; of the rest, have the journal name somebody who does."""
        while not self._left.empty():
            generation = self._left.get()
            self._any_unwanted |= not generation.wanted
            for request_id, running in list(self._running.items()):
                if running.generation is generation:
                    self._follow(request_id, running, generation.first)

    def _follow(self, request_id: int, running: Attempt, first: Delivery | None) -> None:
        if first is None:
            self._engine.cancel(request_id)
            return
        crashes = self._selection.crashes_of(first) or NO_CRASHES
        slot = self._protection.journal.enter(first.record.source, crashes)
        self._protection.journal.leave(running.slot)
        self._running[request_id] = replace(running, blamed=first, crashes=crashes, slot=slot)

    def _step(self, admitted: Sequence[QueuedRequest[Generation]]) -> list[Outcome]:
        try:
            with self._protection.steps:
                for queued in admitted:
                    self._admit_or_refuse(queued)
                return self._engine.step()
        except Exception as error:
            self._protection.on_engine_failure(error)
            raise EngineFailed(f"the engine failed: {error!r}") from error

    def _admit_or_refuse(self, queued: QueuedRequest[Generation]) -> None:
        request_id = next(self._ids)
        generation = queued.item
        try:
            self._admit(request_id, queued)
        except Exception as error:  # noqa: BLE001  # an engine that is broken says so in its next step
            running = self._running.pop(request_id, None)
            if running is not None:
                self._protection.journal.leave(running.slot)
            self._selection.turned_away(queued)
            self._results.put(Broken(generation, fault(error, "start", generation.job.delivery)))

    def _admit(self, request_id: int, queued: QueuedRequest[Generation]) -> None:
        generation, job = queued.item, queued.item.job
        first = generation.first or job.delivery
        crashes = self._selection.crashes_of(first) or NO_CRASHES
        slot = self._protection.journal.enter(first.record.source, crashes)
        self._selection.began(queued)
        generation.begin()
        listener = self._listen(job, crashes.crashes + generation.attempt)
        self._running[request_id] = Attempt(generation, queued, first, crashes, slot, time.monotonic(), listener)
        if generation.attempt == 1:
            self._retries.earn(queued.tokens)
        salt = "" if self._share_prefixes else job.delivery.envelope.tenant
        params = sampling_params(job.request, job.max_new_tokens)
        params = chosen_again(params) if generation.again else params
        grammar = None if job.form is None else job.form.grammar
        request = EngineRequest(
            request_id, job.prompt, params, priority=generation.priority, cache_salt=salt, grammar=grammar,
            text=job.text,
            on_token=None if listener is None else listener.token,
            on_text=None if listener is None else listener.text,
        )  # fmt: skip
        self._engine.add(request)

    def _end(self, outcome: Outcome) -> None:
        running = self._running.pop(outcome.request_id, None)
        if running is None:  # refused when it was handed over, and taken in all the same
            return
        self._protection.journal.leave(running.slot)
        self._selection.ended(running.queued, outcome)
        if running.listener is not None:
            running.listener.ended(outcome)
        if running.generation.wanted:
            self._ends.take(running, outcome)
