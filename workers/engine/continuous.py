"""The continuous-batching engine: requests join and leave at any step, and share what their prompts have in common.

    select ─► add ─► [ interruptions ─► plan ─► forward pass ─► choose ─► append or finish ] ─► outcomes
                       cancel, deadline   scheduler   runner       chooser

Nothing here looks at tensors but the runner and the chooser; nothing decides about pages but the scheduler.
"""

import itertools
import logging
import secrets
import time
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass

import torch

from workers.engine.answers import Answer
from workers.engine.api import (
    Completion,
    EngineRequest,
    Failure,
    FinishReason,
    Outcome,
    SamplingParams,
    Selection,
    StepStats,
    Waiting,
)
from workers.engine.chooser import Ask, Choice, Chooser
from workers.engine.families import kv_shape, why_not
from workers.engine.faults import Fault
from workers.engine.kv_memory import ContinuousConfig, pages_in_memory
from workers.engine.kv_store import KvStore
from workers.engine.loading import LoadedModel
from workers.engine.model_source import ModelLoadError
from workers.engine.pages import PagePool
from workers.engine.penalties import History
from workers.engine.runner import InvariantRunner, PackedRunner, Runner
from workers.engine.scheduler import PrefixStats, Scheduler, SchedulerConfig, Work
from workers.engine.sequences import Sequence

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Running:
    """A request, its sequence and its answer; the seed is fixed, so that a second attempt draws the same tokens."""

    sequence: Sequence
    answer: Answer
    seed: int

    @property
    def params(self) -> SamplingParams:
        return self.answer.request.params

    def ask(self) -> Ask:
        sequence = self.sequence
        history = History(sequence.tokens, sequence.prompt_length)
        return Ask(self.params, self.seed, position=sequence.length - sequence.prompt_length, history=history)

    def completion(self, reason: FinishReason, now: float) -> Completion:
        return self.answer.completion(reason, tuple(self.sequence.generated.tolist()), self.sequence.cached, now)


class ContinuousEngine:
    """Implements `StepEngine`; a step computes one token for whoever decodes and a chunk of the prompts that wait."""

    def __init__(
        self, loaded: LoadedModel, config: ContinuousConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises ModelLoadError for a model that cannot be batched continuously, or where pages find no memory."""
        if reason := why_not(loaded.model):
            raise ModelLoadError(f"engine.kind: the continuous engine cannot run this model, as {reason}; use padded")
        limits = config.on(loaded.device)
        shape = kv_shape(loaded.model.config)
        num_pages = pages_in_memory(shape, limits, loaded)
        self._loaded = loaded
        self._clock = clock
        self._pool = PagePool(num_pages, limits.page_size)
        self._store = KvStore(shape, num_pages, limits.page_size, dtype=loaded.dtype, device=loaded.device)
        self._scheduler = Scheduler(
            SchedulerConfig(limits.max_batch_tokens, limits.max_running, limits.prefix_cache), self._pool
        )
        packed = PackedRunner(loaded.model, self._store)
        self._runner: Runner = InvariantRunner(packed, self._store) if limits.batch_invariant else packed
        self._chooser = Chooser(loaded.device)
        self._running: dict[int, _Running] = {}
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
        """Generate a few tokens for prompts of unequal length; raises RuntimeError when that gives no tokens."""
        params = SamplingParams(max_tokens=2, ignore_eos=True)
        for index, length in enumerate((1, 8)):
            self.add(EngineRequest(-1 - index, [self._loaded.pad_token_id] * length, params))
        while self._running:
            for outcome in self.step():
                if isinstance(outcome, Failure):
                    raise RuntimeError(f"the model failed its warm-up: {outcome.message}")  # noqa: TRY004 (no type error)

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
        sequence = Sequence(request, next(self._arrivals))
        self._scheduler.add(sequence)
        seed = request.params.seed
        answer = Answer.of(request, self._loaded, self._clock())
        self._running[request.id] = _Running(sequence, answer, secrets.randbits(64) if seed is None else seed)

    def cancel(self, request_id: int) -> None:
        running = self._running.get(request_id)
        if running is not None:
            running.answer.cancelled = True

    def step(self) -> list[Outcome]:
        """Compute one step.

        When it raises, its pieces of work are tried again alone: a request fails only by its own fault. Raises what
        leaves the device unusable; the process has to be started anew then.
        """
        outcomes = self._interrupted()
        works = self._scheduler.plan()
        tokens = sum(work.count for work in works)
        self._last_step = StepStats(len(works), tokens, tokens)
        if works:
            outcomes += self._compute(works)
        elif self._running and not outcomes:
            raise RuntimeError(f"none of {len(self._running)} running requests can be computed")
        return outcomes

    def _interrupted(self) -> list[Outcome]:
        now = self._clock()
        outcomes: list[Outcome] = []
        for running in tuple(self._running.values()):
            if failure := running.answer.interruption(now):
                self._leave(running)
                outcomes.append(failure)
        return outcomes

    def _compute(self, works: Items[Work]) -> list[Outcome]:
        try:
            choices = self._attempt(works)
        except Exception as error:
            fault = Fault.of(error)
            log.warning("A step of %d requests failed: %s", len(works), fault.text, exc_info=not fault.is_out_of_memory)
            if fault.fatal:
                raise
        else:
            return self._advance(works, choices)
        if self._loaded.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(works) > 1:
            return [outcome for work in works for outcome in self._compute([work])]
        running = self._running[works[0].sequence.id]
        self._leave(running, trusted=False)
        return [fault.failure(running.answer.request)]

    @torch.inference_mode()
    def _attempt(self, works: Items[Work]) -> list[Choice]:
        """The next token of each of the works that completes, in their order."""
        logits = self._runner.logits(works)
        asks = [self._running[work.sequence.id].ask() for work in works if work.completes]
        return self._chooser.choose(logits, asks) if asks else []

    def _advance(self, works: Items[Work], choices: Items[Choice]) -> list[Outcome]:
        now = self._clock()
        outcomes: list[Outcome] = []
        remaining = iter(choices)
        for work in works:
            choice = next(remaining) if work.completes else None
            if choice is None:
                self._scheduler.complete(work)
            elif outcome := self._take(work, choice, now):
                outcomes.append(outcome)
        return outcomes

    def _take(self, work: Work, choice: Choice, now: float) -> Outcome | None:
        running = self._running[work.sequence.id]
        if choice.token is None:
            self._leave(running, trusted=False)
            return running.answer.invalid_output()
        self._scheduler.complete(work)
        running.sequence.append(choice.token)
        reason = running.answer.accept(choice.token, choice.logprob, now)
        if reason is None:
            return None
        self._leave(running)
        return running.completion(reason, now)

    def _leave(self, running: _Running, *, trusted: bool = True) -> None:
        """Take a request out and its pages back; those of a fault are wiped, so that their next owner meets no NaN."""
        sequence = running.sequence
        pages = tuple(sequence.pages)
        self._scheduler.remove(sequence, trusted=trusted)
        del self._running[sequence.id]
        if not trusted:
            self._store.scrub([page for page in pages if not self._pool.is_held(page)])
