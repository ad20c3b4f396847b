"""An engine that keeps time but computes nothing: for tests, demonstrations and load runs without a model.

It follows continuous batching: requests join at any step and leave at the step that makes their last token. The answer
is a function of the prompt, so that whoever reads it can tell that it belongs to the request (see `answer_tokens`).
"""

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from pelton.workers.engine.api import (
    Completion,
    EngineRequest,
    Failure,
    FailureKind,
    FinishReason,
    Outcome,
    Selection,
    TokenLogprob,
    Waiting,
)
from pelton.workers.engine.simulated.answers import answer_tokens
from pelton.workers.engine.simulated.config import SimulatedConfig
from pelton.workers.engine.stats import StepStats

# Sleeping costs some 0.1 ms of overhead, so shorter decode steps are done several in one call.
_SHORTEST_SLEEP_S = 0.001


@dataclass(slots=True)
class _Running:
    request: EngineRequest
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    joined_s: float = 0.0
    prefill_s: float = 0.0
    told: int = 0

    def tell(self, up_to: int, on_token: Callable[[int, int], None]) -> None:
        """Pass on the tokens made by now, but for the last one, which is the end."""
        for place in range(self.told, min(up_to, len(self.tokens) - 1)):
            on_token(place, self.tokens[place])
            self.told = place + 1

    def completion(self, now_s: float) -> Completion:
        wants_logprobs = self.request.params.logprobs is not None
        return Completion(
            request_id=self.request.id,
            token_ids=self.tokens,
            finish_reason=self.finish_reason,
            prefill_s=self.prefill_s,
            decode_s=now_s - self.joined_s - self.prefill_s,
            # Each token was certain.
            logprobs=tuple(TokenLogprob(token, 0.0) for token in self.tokens) if wants_logprobs else None,
        )


class SimulatedEngine:
    """Implements `StepEngine`. A step's work grows with the requests that join or leave in it, not with those running.

    Every request gets one token per decode step, so the step of its last token is known when it joins; a heap orders
    the requests by it.
    """

    def __init__(
        self,
        config: SimulatedConfig,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._config = config
        self._clock = clock
        self._sleep = sleep
        self._running: dict[int, _Running] = {}
        self._joining: list[_Running] = []
        self._telling: dict[int, tuple[int, _Running]] = {}
        self._finishing: list[tuple[int, int, _Running]] = []
        self._deadlines: list[tuple[float, int, _Running]] = []
        self._cancelled: deque[int] = deque()
        self._order = count()
        self._decode_steps = 0
        self._simulated_s = 0.0
        self._due = clock()
        self._last_step: StepStats | None = None

    @property
    def context_length(self) -> int:
        return self._config.context_length

    @property
    def max_request_tokens(self) -> int:
        return self._config.max_batch_tokens

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def last_step(self) -> StepStats | None:
        return self._last_step

    def warm_up(self) -> None:
        """There is nothing to warm."""

    def select(self, waiting: Sequence[Waiting], now: float) -> Selection:  # noqa: ARG002 (never waits for more)
        """Take from the front while rows are free and one step can hold the prompts beside what runs.

        Raises ValueError when a prompt alone is above `max_batch_tokens`.
        """
        rows = self._config.max_running - len(self._running)
        budget = self._config.max_batch_tokens - len(self._running)
        budget -= sum(len(running.request.prompt) for running in self._joining)
        chosen = 0
        for request in waiting[: max(rows, 0)]:
            if request.prompt_tokens > self._config.max_batch_tokens:
                raise ValueError(f"a prompt of {request.prompt_tokens} tokens is above max_batch_tokens")
            budget -= request.prompt_tokens
            if budget < 0:
                break
            chosen += 1
        return Selection(tuple(range(chosen)))

    def add(self, request: EngineRequest) -> None:
        """Take over a request; raises ValueError when its id is in use."""
        if request.id in self._running:
            raise ValueError(f"request id {request.id} is already in the engine")
        running = _Running(request, *answer_tokens(request, self._config))
        self._running[request.id] = running
        self._joining.append(running)
        if request.deadline is not None:
            heapq.heappush(self._deadlines, (request.deadline, next(self._order), running))

    def cancel(self, request_id: int) -> None:
        if request_id in self._running:
            self._cancelled.append(request_id)

    def step(self) -> list[Outcome]:
        """One step, or, where steps are much shorter than a millisecond, as many as fit into one."""
        outcomes: list[Outcome] = [*self._cancellations(), *self._missed_deadlines()]
        if self._running:
            elapsed_s, completions = self._decode()
            outcomes += completions
            self._let_time_pass(elapsed_s)
        else:
            self._joining.clear()  # all ended before they joined; `select` must not count their prompts
        return outcomes

    def _cancellations(self) -> Iterator[Failure]:
        while self._cancelled:
            request_id = self._cancelled.popleft()
            if self._running.pop(request_id, None):
                yield Failure(request_id, FailureKind.CANCELLED, "The request was cancelled.")

    def _missed_deadlines(self) -> Iterator[Failure]:
        now = self._clock()
        while self._deadlines and self._deadlines[0][0] <= now:
            *_, running = heapq.heappop(self._deadlines)
            if self._is_live(running):
                del self._running[running.request.id]
                yield Failure(
                    running.request.id, FailureKind.DEADLINE, "The deadline passed before the answer was complete."
                )

    def _decode(self) -> tuple[float, list[Completion]]:
        started_s = self._simulated_s
        rows = len(self._running)
        computed = self._join()
        completions: list[Completion] = []
        while True:
            steps = self._steps_in_one_go(self._simulated_s - started_s)
            computed += steps * len(self._running)
            self._decode_steps += steps
            self._simulated_s += steps * self._step_s
            completions += self._finished()
            self._tell()
            if not self._running or self._simulated_s - started_s + self._step_s > _SHORTEST_SLEEP_S:
                break
        self._last_step = StepStats(rows, computed, computed)
        return self._simulated_s - started_s, completions

    @property
    def _step_s(self) -> float:
        return (self._config.itl_ms + self._config.itl_ms_per_row * len(self._running)) / 1000

    def _join(self) -> int:
        """Prefill what was added; returns the prompt tokens."""
        joining = [running for running in self._joining if self._is_live(running)]
        self._joining.clear()
        ttft_s = self._config.ttft_ms / 1000 if joining else 0.0
        for running in joining:
            running.joined_s = self._simulated_s
            running.prefill_s = ttft_s + self._step_s
            last_step = self._decode_steps + len(running.tokens)
            heapq.heappush(self._finishing, (last_step, next(self._order), running))
            if running.request.on_token is not None:
                self._telling[running.request.id] = (self._decode_steps, running)
        self._simulated_s += ttft_s
        return sum(len(running.request.prompt) for running in joining)

    def _steps_in_one_go(self, elapsed_s: float) -> int:
        """Decode steps until the next request finishes, or until it is time to sleep; at least one."""
        while not self._is_live(self._finishing[0][2]):
            heapq.heappop(self._finishing)
        steps = self._finishing[0][0] - self._decode_steps
        if self._step_s == 0:
            return steps
        return min(steps, max(1, int((_SHORTEST_SLEEP_S - elapsed_s) / self._step_s)))

    def _finished(self) -> Iterator[Completion]:
        while self._finishing and self._finishing[0][0] <= self._decode_steps:
            *_, running = heapq.heappop(self._finishing)
            if self._is_live(running):
                del self._running[running.request.id]
                yield running.completion(self._simulated_s)

    def _tell(self) -> None:
        for request_id, (joined_step, running) in list(self._telling.items()):
            on_token = running.request.on_token
            if self._is_live(running) and on_token is not None:
                running.tell(self._decode_steps - joined_step, on_token)
            else:
                del self._telling[request_id]

    def _is_live(self, running: _Running) -> bool:
        # Ended early, a request is only taken out of `_running`; the heaps forget it when it comes up.
        return self._running.get(running.request.id) is running

    def _let_time_pass(self, elapsed_s: float) -> None:
        # Counted from when the last step was due, so that what the caller did meanwhile takes no extra time.
        now = self._clock()
        self._due = (self._due if now - self._due < elapsed_s else now) + elapsed_s
        if self._due > now:
            self._sleep(self._due - now)
