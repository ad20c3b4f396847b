"""A simulation of Kubernetes' scaler on Pelton's backlog: pure arithmetic, no cluster.

What is simulated is what KEDA and the HorizontalPodAutoscaler do with the ScaledObject of configs/kubernetes: every
15 s the metric divided by the threshold, no change within a tenth, at most twice as many or four more at once, and down
only to the most that was wanted within the last minutes. A worker that starts takes its time until it answers.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

MANIFEST = Path(__file__).parents[2] / "configs" / "kubernetes" / "worker.yaml"
SYNC_S = 15
TOLERANCE = 0.1
GROWTH, LEAST_GROWTH = 2, 4
STABILISATION_S = 300


@dataclass(frozen=True, slots=True)
class Rule:
    """Requests for each worker, and bounds; `cooldown_s` is how long nothing must wait before the last worker goes."""

    threshold: float
    least: int
    most: int
    cooldown_s: float

    @classmethod
    def of_manifest(cls, path: Path = MANIFEST) -> "Rule":
        """As it is deployed."""
        [scaler] = [each for each in yaml.safe_load_all(path.read_text()) if each["kind"] == "ScaledObject"]
        spec: dict[str, Any] = scaler["spec"]
        threshold = float(spec["triggers"][0]["metadata"]["threshold"])
        return cls(threshold, spec["minReplicaCount"], spec["maxReplicaCount"], spec["cooldownPeriod"])


@dataclass(frozen=True, slots=True)
class Moment:
    """One second: requests that wait, workers that are wanted, and those that answer."""

    at_s: int
    backlog: float
    wanted: int
    ready: int


def simulate(  # noqa: PLR0913  # what a cluster and its load are
    rule: Rule,
    arrivals: Callable[[int], float],
    *,
    seconds: int,
    worker_per_s: float,
    start_s: int = 30,
    seen: Callable[[float], float] = lambda backlog: backlog,
) -> list[Moment]:
    """`arrivals` gives the requests of each second; `seen` is what the scaler is told of a backlog."""
    scaler = _Scaler(rule)
    backlog, starting, ready = 0.0, deque[int](), 0
    course = []
    for now in range(seconds):
        while starting and starting[0] <= now:
            starting.popleft()
            ready += 1
        backlog = max(0.0, backlog + arrivals(now) - ready * worker_per_s)
        if now % SYNC_S == 0:
            wanted = scaler.wanted(seen(backlog), now)
            while wanted > ready + len(starting):
                starting.append(now + start_s)
            while wanted < ready + len(starting) and starting:
                starting.pop()
            ready = min(ready, wanted)
        course.append(Moment(now, backlog, scaler.current, ready))
    return course


def turns(course: list[Moment]) -> int:
    """How often the number of wanted workers goes another way than before: up and down once is one turn."""
    steps = [after.wanted - before.wanted for before, after in pairwise(course)]
    signs = [step > 0 for step in steps if step]
    return sum(one != other for one, other in pairwise(signs))


class _Scaler:
    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self.current = rule.least
        self._lately: deque[tuple[int, int]] = deque()
        self._last_active = -math.inf

    def wanted(self, metric: float, now: int) -> int:
        if metric > 0:
            self._last_active = now
        if not self.current:
            self.current = 1 if metric > 0 else 0
            return self.current
        self.current = self._bounded(self._stable(self._by_metric(metric), now), now)
        return self.current

    def _by_metric(self, metric: float) -> int:
        each = metric / self.current / self._rule.threshold
        return self.current if abs(each - 1) <= TOLERANCE else math.ceil(metric / self._rule.threshold)

    def _stable(self, wanted: int, now: int) -> int:
        self._lately.append((now, wanted))
        while self._lately[0][0] <= now - STABILISATION_S:
            self._lately.popleft()
        return min(max(each for _, each in self._lately), max(wanted, self.current))

    def _bounded(self, wanted: int, now: int) -> int:
        most = min(self._rule.most, max(self.current * GROWTH, self.current + LEAST_GROWTH))
        idle = now - self._last_active >= self._rule.cooldown_s
        return max(self._rule.least if idle else 1, min(wanted, most))
