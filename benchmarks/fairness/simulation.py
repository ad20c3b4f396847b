"""A worker's line and engine in simulated time.

The order of tenants and lanes is `FairOrder`, rows, pages and preemption are the engine's `Scheduler`; a step takes a
fixed time and some for each token that it computes. Only the ordering itself is timed by a real clock.
"""

import heapq
import itertools
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pelton.pipeline.settings.quota import OverloadSettings
from pelton.workers.engine.api import Completion, EngineRequest, FinishReason, SamplingParams
from pelton.workers.engine.scheduling.page_pool import PagePool
from pelton.workers.engine.scheduling.scheduler import Scheduler, SchedulerConfig
from pelton.workers.engine.scheduling.sequences import SequenceState
from pelton.workers.fairness.estimate import estimate
from pelton.workers.fairness.fair_order import Claim, FairOrder
from pelton.workers.fairness.speed import SpeedMeter

LATE_MARGIN = OverloadSettings().late_margin
PAGE = 16


@dataclass(frozen=True, slots=True)
class Machine:
    """A step takes `step_s`, and `token_s` more for each token; a lane has `line` requests, the rest stays outside."""

    rows: int = 32
    pages: int = 4_000
    max_batch_tokens: int = 2_048
    step_s: float = 0.02
    token_s: float = 0.00002
    line: int = 256


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """Arrives at `since` (seconds); of no use after `deadline_s` more. `cancelled_at` counts its own tokens."""

    since: float
    prompt_tokens: int
    max_new_tokens: int
    tenant: str = ""
    priority: int = 0
    deadline_s: float | None = None
    cancelled_at: int | None = None

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.max_new_tokens

    @property
    def claim(self) -> Claim:
        return Claim(self.priority, self.tenant, self.tokens)

    def is_late(self, now: float) -> bool:
        return self.deadline_s is not None and now > self.since + self.deadline_s


@dataclass(slots=True)
class Outcome:
    """`begun_at` is when it was given a row, `ended_at` when it had all its tokens, `cut_at` when it ended without."""

    request: Request
    steps_waited: int = 0
    begun_at: float | None = None
    ended_at: float | None = None
    cut_at: float | None = None
    refused: bool = False
    computed: int = 0


@dataclass(slots=True)
class Run:
    """What came of a simulation. `ordering_s` is real time, all else simulated."""

    outcomes: list[Outcome]
    seconds: float = 0.0
    steps: int = 0
    tokens: int = 0
    preemptions: int = 0
    pages_left: int = 0
    ordering_s: float = 0.0
    by_tenant: dict[str, int] = field(default_factory=dict)

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds


class Worker:
    """One worker over its requests, fair or first come, first served."""

    def __init__(
        self, machine: Machine, requests: Sequence[Request], *, fair: bool, refuses_late: bool = False
    ) -> None:
        """With `refuses_late` what would miss its deadline does not come into the line."""
        self._machine = machine
        self._refuses_late = refuses_late
        self._speed = SpeedMeter(lambda: self.run.seconds)
        self._fair = fair
        self._pool = PagePool(machine.pages, PAGE)
        config = SchedulerConfig(machine.max_batch_tokens, machine.rows)
        self._scheduler = Scheduler(config, self._pool)
        self._order = FairOrder({})
        self._coming = deque(sorted(requests, key=lambda each: each.since))
        self._outside: dict[int, deque[Request]] = {0: deque(), 1: deque()}
        self._line: list[Request] = []
        self._running: dict[SequenceState, Request] = {}
        self._ids = itertools.count()
        self._fresh_tokens = itertools.count(1, 1 << 20)
        self._deadlines: list[tuple[float, int, Request]] = []
        self._outcomes = {request: Outcome(request) for request in requests}
        self._joined_step: dict[Request, int] = {}
        self.run = Run(list(self._outcomes.values()))

    @property
    def waiting(self) -> list[Request]:
        """In the line."""
        return self._line

    @property
    def unseen(self) -> list[Request]:
        """Still to come, or outside of the line."""
        return [*self._coming, *(each for outside in self._outside.values() for each in outside)]

    def until(self, end_s: float | None = None) -> Run:
        """Run to the last request, or to a time."""
        run = self.run
        while (self._coming or self._line or self._running) and (end_s is None or run.seconds < end_s):
            self._arrive()
            self._cut_late()
            self._admit()
            if not self._running:
                if not self._coming:
                    break
                run.seconds = max(run.seconds, self._coming[0].since)
                continue
            self._step()
        run.preemptions, run.pages_left = self._scheduler.preemptions, self._pool.available
        return run

    def _arrive(self) -> None:
        while self._coming and self._coming[0].since <= self.run.seconds:
            request = self._coming.popleft()
            self._outside[request.priority if self._fair else 0].append(request)
            if request.deadline_s is not None:
                heapq.heappush(self._deadlines, (request.since + request.deadline_s, next(self._ids), request))
        for lane, outside in self._outside.items():
            room = self._machine.line - sum((each.priority if self._fair else 0) == lane for each in self._line)
            for _ in range(min(room, len(outside))):
                request = outside.popleft()
                if self._would_be_late(request):
                    self._outcomes[request].cut_at = self.run.seconds
                    self._outcomes[request].refused = True
                    continue
                self._line.append(request)
                self._joined_step[request] = self.run.steps

    def _would_be_late(self, request: Request) -> bool:
        speed = self._speed.speed
        if not self._refuses_late or speed is None or request.deadline_s is None:
            return False
        running_s = self._speed.left_s(request.priority, speed)
        found = estimate(request, self._line, running_s, lambda each: each.tenant, speed, {})
        left_s = request.since + request.deadline_s - self.run.seconds
        return found.least_s > left_s * (1 + LATE_MARGIN)

    def _cut_late(self) -> None:
        """As the worker does: what is too late leaves wherever it is."""
        late: set[Request] = set()
        while self._deadlines and self._deadlines[0][0] < self.run.seconds:
            request = heapq.heappop(self._deadlines)[2]
            if self._outcomes[request].ended_at is None:
                late.add(request)
                self._outcomes[request].cut_at = self.run.seconds
        if late:
            self._line = [each for each in self._line if each not in late]
            for lane, outside in self._outside.items():
                self._outside[lane] = deque(each for each in outside if each not in late)
            for sequence in [each for each, request in self._running.items() if request in late]:
                self._leave(sequence)

    def _admit(self) -> None:
        if not self._line:
            return
        began = time.thread_time()
        order = self._order.order([each.claim for each in self._line]) if self._fair else range(len(self._line))
        self.run.ordering_s += time.thread_time() - began
        waiting = [self._line[index] for index in order]
        if not self._fair:
            waiting = [_plain(each) for each in waiting]
        chosen = [order[index] for index in self._scheduler.select(waiting).indexes]
        for request in [self._line[index] for index in chosen]:
            self._begin(request)
        taken = set(chosen)
        self._line = [each for index, each in enumerate(self._line) if index not in taken]

    def _begin(self, request: Request) -> None:
        if self._fair:
            self._order.charge(request.claim)
        self._speed.joined(request)
        first = next(self._fresh_tokens)
        prompt = np.arange(first, first + request.prompt_tokens)  # no two prompts have a beginning in common
        priority = request.priority if self._fair else 0
        params = SamplingParams(max_tokens=request.max_new_tokens)
        sequence = SequenceState(
            EngineRequest(next(self._ids), prompt.tolist(), params, priority=priority), next(self._ids)
        )
        self._scheduler.add(sequence)
        self._running[sequence] = request
        outcome = self._outcomes[request]
        outcome.begun_at = self.run.seconds
        outcome.steps_waited = self.run.steps - self._joined_step[request] + 1  # the one in which it came

    def _completion(self, request: Request) -> Completion | None:
        """As the engine tells of one that is answered; prompts are computed in the step in which they join."""
        outcome, begun_at = self._outcomes[request], self._outcomes[request].begun_at
        if outcome.ended_at is None or begun_at is None:
            return None
        decode_s = outcome.ended_at - begun_at
        return Completion(0, (7,) * request.max_new_tokens, FinishReason.LENGTH, 0.0, decode_s)

    def _step(self) -> None:
        works = self._scheduler.plan()
        run = self.run
        computed = sum(work.count for work in works)
        run.seconds += self._machine.step_s + self._machine.token_s * computed
        run.steps += 1
        for work in works:
            self._scheduler.begin(work)
        for work in works:
            self._scheduler.complete(work)
            request = self._running[work.sequence]
            self._outcomes[request].computed += work.count
            run.by_tenant[request.tenant] = run.by_tenant.get(request.tenant, 0) + work.count
            if work.completes:
                work.sequence.append(7)
                run.tokens += 1
                self._end_if_done(work.sequence, request)
        self._speed.look(waits=bool(self._line))

    def _end_if_done(self, sequence: SequenceState, request: Request) -> None:
        made = sequence.length - sequence.prompt_length
        if made == request.cancelled_at:
            self._outcomes[request].cut_at = self.run.seconds
        elif made == request.max_new_tokens:
            self._outcomes[request].ended_at = self.run.seconds
        else:
            return
        self._leave(sequence)

    def _leave(self, sequence: SequenceState) -> None:
        request = self._running.pop(sequence)
        self._speed.left(request, self._completion(request))
        self._scheduler.remove(sequence)
        if self._fair:
            taken = sequence.length - sequence.cached
            self._order.settle(request.claim, taken)


def _plain(request: Request) -> Request:
    """As one sees it who knows no lanes."""
    return Request(request.since, request.prompt_tokens, request.max_new_tokens)
