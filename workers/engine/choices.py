"""Several answers to one prompt, for any engine: each is a request of its own to the engine, and they come out as one.

Their prompt is computed once where the engine keeps computed prefixes: the second finds the pages of the first.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pelton.workers.engine.api import (
    Completion,
    EngineRequest,
    Failure,
    Outcome,
    Selection,
    StepEngine,
    Waiting,
)
from pelton.workers.engine.stats import StepStats

_SEED_STEP = 0x9E3779B97F4A7C15
_SEEDS = 2**63


@dataclass(slots=True, eq=False)
class _Group:
    """A request with several choices: what has ended of them, and whether all of it has been given up."""

    request: EngineRequest
    done: dict[int, Completion]
    failed: bool = False
    cancelled: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Choice:
    """One answer of a group, which may have to wait for room; what `select` sees of it."""

    group: _Group
    index: int
    since: float = 0.0

    @property
    def prompt_tokens(self) -> int:
        return len(self.group.request.prompt)

    @property
    def max_new_tokens(self) -> int:
        return self.group.request.params.max_tokens

    @property
    def priority(self) -> int:
        return self.group.request.priority


class ChoiceEngine:
    """Implements `StepEngine` over another one. Choices that find no room wait here, before all other requests."""

    def __init__(self, engine: StepEngine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._waiting: deque[_Choice] = deque()
        self._running: dict[int, _Choice] = {}
        self._groups: dict[int, _Group] = {}
        self._inner_ids = 0

    @property
    def context_length(self) -> int:
        return self._engine.context_length

    @property
    def max_request_tokens(self) -> int:
        return self._engine.max_request_tokens

    @property
    def running(self) -> int:
        return self._engine.running + len(self._waiting)

    @property
    def last_step(self) -> StepStats | None:
        return self._engine.last_step

    def warm_up(self) -> None:
        self._engine.warm_up()

    def select(self, waiting: Sequence[Waiting], now: float) -> Selection:
        """What is chosen of `waiting`, once the choices that wait here have been taken."""
        self._start_waiting(now)
        return Selection(()) if self._waiting else self._engine.select(waiting, now)

    def add(self, request: EngineRequest) -> None:
        """Take over a request; raises ValueError as the engine does."""
        if request.id in self._groups:
            raise ValueError(f"request id {request.id} is already in the engine")
        group = _Group(request, {})
        self._start(_Choice(group, 0))
        self._groups[request.id] = group
        self._waiting.extend(_Choice(group, index) for index in range(1, request.params.n))

    def cancel(self, request_id: int) -> None:
        group = self._groups.get(request_id)
        if group is not None:
            group.cancelled = True
            self._cancel_running(group)

    def step(self) -> list[Outcome]:
        outcomes = [ended for outcome in self._engine.step() if (ended := self._end(outcome)) is not None]
        if not self._engine.running:
            self._start_waiting(self._clock())
        return outcomes

    def _start_waiting(self, now: float) -> None:
        if not self._waiting:
            return
        chosen = set(self._engine.select(list(self._waiting), now).indexes)
        for index, choice in enumerate(list(self._waiting)):
            if index in chosen:
                self._waiting.remove(choice)
                self._start(choice)

    def _start(self, choice: _Choice) -> None:
        request = choice.group.request
        seed = request.params.seed
        own_seed = seed if seed is None or choice.index == 0 else (seed + choice.index * _SEED_STEP) % _SEEDS
        alone = request.params.n == 1
        params = request.params if alone else replace(request.params, n=1, seed=own_seed)
        self._engine.add(replace(request, id=self._inner_ids, params=params))
        self._running[self._inner_ids] = choice
        if choice.group.cancelled:
            self._engine.cancel(self._inner_ids)
        self._inner_ids += 1

    def _end(self, outcome: Outcome) -> Outcome | None:
        """What a choice's end is the end of, if it is the last of its group or fails it."""
        choice = self._running.pop(outcome.request_id)
        group = choice.group
        if group.failed:
            return None
        if isinstance(outcome, Failure):
            self._give_up(group)
            return replace(outcome, request_id=group.request.id)
        group.done[choice.index] = outcome
        if len(group.done) < group.request.params.n:
            return None
        del self._groups[group.request.id]
        first, *others = (group.done[index] for index in range(group.request.params.n))
        return replace(first, request_id=group.request.id, others=tuple(others))

    def _give_up(self, group: _Group) -> None:
        group.failed = True
        del self._groups[group.request.id]
        self._waiting = deque(choice for choice in self._waiting if choice.group is not group)
        self._cancel_running(group)

    def _cancel_running(self, group: _Group) -> None:
        for inner, choice in list(self._running.items()):
            if choice.group is group:
                self._engine.cancel(inner)
