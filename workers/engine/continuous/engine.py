"""The continuous-batching engine: requests join and leave at any step, and share what their prompts have in common.

    select ─► add ─► [ interruptions ─► plan ─► launch ─► land: go on or finish ] ─► outcomes
                       cancel, deadline   scheduler   executor

Nothing here looks at tensors but the executor; nothing decides about pages but the scheduler. Whether a step lands
before the next one is launched is the executor's affair (`executors.py`, which says what follows from it).
"""

import itertools
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import replace
from functools import partial

import torch

from pelton.workers.engine.api import (
    EngineRequest,
    Failure,
    Outcome,
    SamplingParams,
    Selection,
    Waiting,
)
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.executors import (
    ExecutorFactory,
    check_device,
    executor_for,
    parallel_executor,
)
from pelton.workers.engine.continuous.kv_memory import allocate
from pelton.workers.engine.continuous.landing import Landing, Pages
from pelton.workers.engine.continuous.mirrored import MirroredPages
from pelton.workers.engine.continuous.running import RunningRequest, Step, StepEntry
from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.faults import Fault
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.engine.model.supported import kv_shape, unsupported_reason
from pelton.workers.engine.parallel.followers import Followers
from pelton.workers.engine.request_state import RequestState
from pelton.workers.engine.scheduling.chunk import ScheduledChunk
from pelton.workers.engine.scheduling.page_pool import PagePool
from pelton.workers.engine.scheduling.prefix_cache import PrefixStats
from pelton.workers.engine.scheduling.scheduler import Scheduler, SchedulerConfig
from pelton.workers.engine.scheduling.sequences import SequenceState
from pelton.workers.engine.speculation.speculator import speculator_for
from pelton.workers.engine.stats import KVCacheStats, SpeculationStats, StepStats

log = logging.getLogger(__name__)


class ContinuousEngine:
    """Implements `StepEngine`; a step computes one token for whoever decodes and a chunk of the prompts that wait."""

    def __init__(
        self,
        loaded: LoadedModel,
        config: ContinuousConfig,
        clock: Callable[[], float] = time.monotonic,
        make_executor: ExecutorFactory = executor_for,
        followers: Followers | None = None,
    ) -> None:
        """`followers` hold the other parts of a model that was loaded in parts; the engine ends them with `close`.

        Raises ModelLoadError for a model that cannot be batched continuously, or where pages find no memory.
        """
        if reason := unsupported_reason(loaded.model):
            raise ModelLoadError(f"engine.kind: the continuous engine cannot run this model, as {reason}; use padded")
        limits = config.on(loaded.device)
        check_device(loaded, limits)
        self._loaded = loaded
        self._clock = clock
        self._followers = followers
        shape = kv_shape(loaded.model.config, limits.kv_dtype, loaded.kv_heads)
        self._store = allocate(shape, limits, loaded, 1 if followers is None else followers.ranks)
        self._pool = PagePool(self._store.num_pages, limits.page_size)
        self._scheduler = Scheduler(
            SchedulerConfig(
                limits.max_batch_tokens,
                limits.max_running,
                limits.prefix_cache,
                gather_tokens=limits.gather_tokens,
                gather_steps=limits.gather_steps,
            ),
            self._pool,
        )
        if followers is not None:
            make_executor = partial(parallel_executor, followers)
        self._executor = make_executor(loaded, self._store, limits)
        pages: Pages = self._store if followers is None else MirroredPages(self._store, followers)
        self._speculator = speculator_for(limits, self._executor.steps_ahead)
        self._running: dict[int, RunningRequest] = {}
        self._landing = Landing(self._scheduler, self._pool, pages, self._running, self._speculator)
        self._launched: deque[Step] = deque()
        self._arrivals = itertools.count()
        self._last_step: StepStats | None = None
        self.max_batch_tokens = limits.max_batch_tokens

    @property
    def context_length(self) -> int:
        return self._loaded.context_length

    @property
    def max_request_tokens(self) -> int:
        return self._pool.num_pages * self._pool.page_size

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def last_step(self) -> StepStats | None:
        return self._last_step

    @property
    def prefix_stats(self) -> PrefixStats:
        return self._scheduler.prefix_stats

    @property
    def preemptions(self) -> int:
        """How often a running request gave its pages back to be computed again later."""
        return self._scheduler.preemptions

    def warm_up(self) -> None:
        """Prepare the executor and generate a few tokens for prompts of unequal length.

        Raises RuntimeError when that gives no tokens.
        """
        self._executor.warm_up()
        params = SamplingParams(max_tokens=2, ignore_eos=True)
        for index, length in enumerate((1, 8)):
            self.add(EngineRequest(-1 - index, [self._loaded.pad_token_id] * length, params))
        while self._running:
            for outcome in self.step():
                if isinstance(outcome, Failure):
                    raise RuntimeError(f"the model failed its warm-up: {outcome.message}")  # noqa: TRY004 (no type error)

    def close(self) -> None:
        """End the processes that hold the other parts of the model, where there are any."""
        if self._followers is not None:
            self._followers.close()

    def select(self, waiting: Items[Waiting], now: float) -> Selection:  # noqa: ARG002 (never waits for more)
        return self._scheduler.select(waiting)

    def add(self, request: EngineRequest) -> None:
        """Take over a request.

        Raises ValueError when its id is in use, its prompt is empty, it may not generate a single token, or it may
        grow beyond the model's context or beyond all pages.
        """
        if request.id in self._running:
            raise ValueError(f"request id {request.id} is already in the engine")
        if not request.prompt or request.params.max_tokens < 1:
            raise ValueError(f"request {request.id} needs at least one prompt token and max_tokens of at least 1")
        if len(request.prompt) + request.params.max_tokens > self.context_length:
            raise ValueError(
                f"request {request.id} may grow beyond the model's context of {self.context_length} tokens"
            )
        sequence = SequenceState(request, next(self._arrivals))
        self._scheduler.add(sequence)
        seed = request.params.seed
        answer = RequestState.of(request, self._loaded, self._clock())
        # A grammar's masks are known for the next token alone.
        guesses = None if self._speculator is None or request.grammar is not None else self._speculator.guesses()
        fixed_seed = secrets.randbits(64) if seed is None else seed
        self._running[request.id] = RunningRequest(sequence, answer, fixed_seed, guesses)

    def cancel(self, request_id: int) -> None:
        running = self._running.get(request_id)
        if running is not None:
            running.answer.cancelled = True

    def step(self) -> list[Outcome]:
        """Launch a step, and land those that are due.

        When a launch fails, its pieces of work are tried again alone: a request fails only by its own fault. Raises
        what leaves the device unusable; the process has to be started anew then.
        """
        outcomes = self._interrupted()
        started = self._clock()
        works = self._with_drafts(self._scheduler.plan())
        kv_cache, accepted = self._kv_cache_stats(), self._speculation.accepted
        if works:
            outcomes += self._launch(works)
        elif self._running and not self._launched and not outcomes:
            raise RuntimeError(f"none of {len(self._running)} running requests can be computed")
        outcomes += self._land(all_but=self._executor.steps_ahead if works else 0)
        if self._speculator is not None:
            self._speculator.observe(works, self._clock() - started)
        useful = sum(work.count for work in works) + self._speculation.accepted - accepted
        computed = sum(work.rows for work in works)
        self._last_step = StepStats(len(works), useful, computed, kv_cache, self._speculation)
        return outcomes

    def _with_drafts(self, works: list[ScheduledChunk]) -> list[ScheduledChunk]:
        if self._speculator is None:
            return works
        drafts = self._speculator.drafts(works, [self._running[work.sequence.id].guesses for work in works])
        return [self._scheduler.extend(work, own) for work, own in zip(works, drafts, strict=True)]

    @property
    def _speculation(self) -> SpeculationStats:
        return SpeculationStats() if self._speculator is None else self._speculator.stats

    def _kv_cache_stats(self) -> KVCacheStats:
        pool, prefixes = self._pool, self._scheduler.prefix_stats
        used = pool.num_pages - pool.available
        return KVCacheStats(pool.num_pages, used, self._scheduler.preemptions, prefixes.asked, prefixes.hit)

    def _interrupted(self) -> list[Outcome]:
        now = self._clock()
        outcomes: list[Outcome] = []
        for running in tuple(self._running.values()):
            if failure := running.answer.interruption(now):
                self._landing.leave(running)
                outcomes.append(failure)
        return outcomes

    def _launch(self, works: Items[ScheduledChunk]) -> list[Outcome]:
        pieces = tuple(StepEntry(self._running[work.sequence.id], work, work.wanted) for work in works)
        asks = [ask for piece in pieces if piece.chooses for ask in piece.running.asks(piece.work.drafts)]
        try:
            flight = self._executor.launch(works, asks)
        except Exception as error:
            fault = Fault.of(error)
            if fault.fatal:
                raise
            log.warning("A step of %d requests failed: %s", len(works), fault.text, exc_info=not fault.is_out_of_memory)
        else:
            for piece in pieces:
                self._scheduler.begin(piece.work)
                if piece.chooses:
                    piece.work.sequence.reserve()
            self._launched.append(Step(pieces, flight))
            return []
        return self._one_by_one(pieces, fault)

    def _one_by_one(self, pieces: Items[StepEntry], fault: Fault) -> list[Outcome]:
        """Try the pieces of a failed step again, or end the one there was; those that ended meanwhile are let be."""
        outcomes = self._land()
        if self._loaded.device.type == "cuda":
            torch.cuda.empty_cache()
        alone = len(pieces) == 1 and not pieces[0].work.drafts
        for piece in pieces:
            if not self._runs(piece):
                continue
            if alone:
                self._landing.leave(piece.running, trusted=False)
                outcomes.append(fault.failure(piece.running.answer.request))
            else:
                outcomes += self._launch([replace(piece.work, drafts=())]) + self._land()
        return outcomes

    def _land(self, all_but: int = 0) -> list[Outcome]:
        """Take the tokens of the steps launched first; those of requests that ended meanwhile are dropped."""
        outcomes: list[Outcome] = []
        while len(self._launched) > all_but:
            step = self._launched.popleft()
            choices = iter(step.flight.choices())
            now = self._clock()
            for piece in step.pieces:
                own = list(itertools.islice(choices, piece.wanted))
                if self._runs(piece) and (outcome := self._landing.advance(piece, own, now)):
                    outcomes.append(outcome)
        return outcomes

    def _runs(self, piece: StepEntry) -> bool:
        """Whether a piece's request is still here; another one may have its id by now."""
        return self._running.get(piece.work.sequence.id) is piece.running
