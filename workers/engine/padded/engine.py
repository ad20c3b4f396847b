"""The padded engine: one batch per step through transformers' `generate`, for any architecture it knows.

Rows wait for the longest of their batch, so it is the slower engine; it is the one that runs everything.
"""

import logging
import math
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import GenerationConfig

from pelton.workers.engine.api import (
    EngineRequest,
    Failure,
    FailureKind,
    Outcome,
    SamplingParams,
    Selection,
    Waiting,
)
from pelton.workers.engine.faults import Fault
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.engine.padded.batch import PaddedBatch, PaddedRequest
from pelton.workers.engine.padded.composition import compose
from pelton.workers.engine.scheduling.arrivals import ArrivalRate
from pelton.workers.engine.stats import StepStats

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PaddedConfig:
    """`max_batch_tokens` bounds rows x (longest prompt + most new tokens), padding included. `max_batch_wait_s` is how
    long the oldest of a batch may wait for others, where many come; where few do, it does not wait.
    """

    max_batch_tokens: int
    max_batch_size: int
    max_batch_wait_s: float


class PaddedEngine:
    """Implements `StepEngine`; every step runs all requests added before it as one batch, to the end."""

    def __init__(self, loaded: LoadedModel, config: PaddedConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._loaded = loaded
        self._config = config
        self._clock = clock
        self._tickets: dict[int, PaddedRequest] = {}
        self._last_step: StepStats | None = None
        self._arrivals = ArrivalRate()
        self._latest = -math.inf
        # `generate` fills what our generation config leaves open from the model's own (repetition penalty, minimum
        # length, cache type, ...). What a request asks for is all that counts, so the model's is emptied.
        loaded.model.generation_config = GenerationConfig()

    @property
    def context_length(self) -> int:
        return self._loaded.context_length

    @property
    def max_request_tokens(self) -> int:
        return self._config.max_batch_tokens

    @property
    def running(self) -> int:
        return len(self._tickets)

    @property
    def last_step(self) -> StepStats | None:
        return self._last_step

    def warm_up(self) -> None:
        """Generate a few tokens for prompts of unequal length; raises RuntimeError when that gives no tokens."""
        params = SamplingParams(max_tokens=2, ignore_eos=True)
        prompts = ([self._loaded.pad_token_id], [self._loaded.pad_token_id] * 8)
        tickets = [PaddedRequest(EngineRequest(-1, prompt, params), seed=0) for prompt in prompts]
        batch = PaddedBatch(self._loaded, tickets, self._clock)
        batch.run()
        failures = [outcome.message for outcome in batch.outcomes if isinstance(outcome, Failure)]
        if failures:
            raise RuntimeError(f"the model failed its warm-up: {failures[0]}")

    def select(self, waiting: Sequence[Waiting], now: float) -> Selection:
        self._count(waiting)
        if self._tickets:
            return Selection(())
        return compose(
            waiting,
            now,
            max_batch_tokens=self._config.max_batch_tokens,
            max_batch_size=self._config.max_batch_size,
            max_wait_s=self._arrivals.window_s(self._config.max_batch_wait_s, now),
        )

    def _count(self, waiting: Sequence[Waiting]) -> None:
        """Those that have come since the last look. One that comes back, such as a retry, began to wait before."""
        for since in sorted(each.since for each in waiting if each.since > self._latest):
            self._arrivals.arrived(since)
            self._latest = since

    def add(self, request: EngineRequest) -> None:
        """Take over a request.

        Raises ValueError when its id is in use, its prompt is empty or it may not generate a single token.
        """
        if request.id in self._tickets:
            raise ValueError(f"request id {request.id} is already in the engine")
        if not request.prompt or request.params.max_tokens < 1:
            raise ValueError(f"request {request.id} needs at least one prompt token and max_tokens of at least 1")
        seed = request.params.seed
        self._tickets[request.id] = PaddedRequest(request, secrets.randbits(64) if seed is None else seed)

    def cancel(self, request_id: int) -> None:
        ticket = self._tickets.get(request_id)
        if ticket is not None:
            ticket.cancelled = True

    def step(self) -> list[Outcome]:
        """Run everything added as one batch and return all its outcomes.

        When the batch raises, its unfinished rows are tried again alone: a request fails only by its own fault.
        """
        if not self._tickets:
            return []
        attempts: list[StepStats] = []
        outcomes = self._run(list(self._tickets.values()), attempts)
        self._tickets.clear()
        self._last_step = StepStats(
            rows=sum(stats.rows for stats in attempts),
            useful_tokens=sum(stats.useful_tokens for stats in attempts),
            computed_tokens=sum(stats.computed_tokens for stats in attempts),
        )
        return outcomes

    def _run(self, tickets: Sequence[PaddedRequest], attempts: list[StepStats]) -> list[Outcome]:
        now = self._clock()
        judged = [(ticket, ticket.interruption(now)) for ticket in tickets]
        outcomes: list[Outcome] = [interruption for _, interruption in judged if interruption]
        ready = [ticket for ticket, interruption in judged if not interruption]
        if not ready:
            return outcomes
        batch = PaddedBatch(self._loaded, ready, self._clock)
        fault = self._attempt(batch)
        attempts.append(batch.stats)
        outcomes += batch.outcomes
        if fault is None or not batch.unfinished:
            return outcomes
        if len(ready) == 1:
            return [*outcomes, fault.failure(ready[0].request)]
        log.warning(
            "A batch of %d failed (%s); trying its %d unfinished requests one at a time. If this repeats and it is "
            "memory that ran out, lower max_batch_tokens.",
            len(ready),
            fault.text,
            len(batch.unfinished),
        )
        for ticket in batch.unfinished:
            outcomes += self._run([ticket], attempts)
        return outcomes

    def _attempt(self, batch: PaddedBatch) -> Fault | None:
        try:
            batch.run()
        except Exception as error:
            fault = Fault.of(error)
            if fault.kind is FailureKind.INTERNAL:
                log.warning("The model raised while it generated.", exc_info=True)
        else:
            return None
        if self._loaded.device.type == "cuda":
            torch.cuda.empty_cache()
        return fault
