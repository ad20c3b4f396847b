"""Which generations leave the queue: to run in the engine, or to be refused."""

import time
from collections.abc import Callable, Mapping, Sequence

from pelton.pipeline.errors import PoisonRecord
from pelton.pipeline.request_queue import Chosen, QueuedRequest
from pelton.workers.containment import fault
from pelton.workers.engine.api import Completion, Outcome, Selection, StepEngine
from pelton.workers.fairness.fair_order import Claim, FairOrder
from pelton.workers.fairness.speed import SpeedMeter
from pelton.workers.quarantine.crash_history import NO_CRASHES, CrashHistory
from pelton.workers.quarantine.isolation import QuarantinePolicy
from pelton.workers.quarantine.suspects import SuspectTable
from pelton.workers.requests import Delivery
from pelton.workers.sharing.generation import Broken, Generation

Queued = QueuedRequest[Generation]
Runnable = Callable[[Sequence[Queued], Sequence[int]], Sequence[int]]
"""Of what is queued, and the indexes chosen from it, those that may run already."""


class BatchSelection:
    """Joins what the engine has room for, what quarantine allows, and what has its lease. One thread."""

    def __init__(  # noqa: PLR0913, PLR0917  # what it joins
        self,
        engine: StepEngine,
        suspects: SuspectTable,
        max_lone_crashes: int,
        runnable: Runnable,
        tenant_weights: Mapping[str, float],
        speed: SpeedMeter,
    ) -> None:
        """`runnable` is called with the queue locked."""
        self._engine = engine
        self._suspects = suspects
        self._quarantine = QuarantinePolicy(max_lone_crashes)
        self._runnable = runnable
        self._order = FairOrder(tenant_weights)
        self._speed = speed
        self.refused: dict[Generation, Broken] = {}
        """Those of the last choice that are not to run, and why."""

    def crashes_of(self, delivery: Delivery | None) -> CrashHistory | None:
        """What a request is suspected of."""
        if delivery is None or not self._suspects:
            return None
        return self._suspects.get(delivery.record.source, delivery.sent_ms)

    def choose(self, queued: Sequence[Queued], running: int) -> Chosen:
        """Which are to leave the queue now, where so many run."""
        now = time.monotonic()
        self.refused = {}
        if not self._suspects:
            selection, failed = self._select(queued, self._ordered(queued, range(len(queued))), now)
            return (*failed, *self._runnable(queued, selection.indexes)), selection.retry_at
        histories = [self.crashes_of(each.item.first) for each in queued]
        plan = self._quarantine.offer(histories, running=running, now=now)
        for index in plan.condemned:
            self.refused[queued[index].item] = _poison(queued[index].item, histories[index] or NO_CRASHES)
        selection, failed = self._select(queued, self._ordered(queued, plan.candidates), now)
        runnable = self._runnable(queued, selection.indexes)
        if plan.suspects and runnable:
            self._quarantine.began()
        chosen = (*plan.condemned, *failed, *runnable)
        looks = [look for look in (plan.look_again, selection.retry_at) if look is not None]
        return chosen, min(looks, default=None)

    def began(self, queued: Queued) -> None:
        """It has joined the engine."""
        self._order.charge(_claim(queued))
        self._speed.joined(queued)

    def ended(self, queued: Queued, outcome: Outcome) -> None:
        """It has left the engine. What a failed one took is not known: its estimate stands."""
        self._speed.left(queued, outcome)
        if isinstance(outcome, Completion):
            taken = queued.prompt_tokens - outcome.cached_tokens + outcome.generated_tokens
            self._order.settle(_claim(queued), taken)

    def turned_away(self, queued: Queued) -> None:
        """It was to join the engine, which did not take it."""
        self._speed.left(queued)

    def _ordered(self, queued: Sequence[Queued], candidates: Sequence[int]) -> Sequence[int]:
        """Lane by lane, and in each as is fair among its tenants; one tenant's own as they came."""
        waiting = (queued[index] for index in candidates)
        accounts = {(each.priority, each.item.job.delivery.envelope.tenant) for each in waiting}
        if len(accounts) <= 1:
            self._order.welcome(accounts)
            return candidates
        claims = [_claim(queued[index]) for index in candidates]
        return [candidates[place] for place in self._order.order(claims)]

    def _select(self, queued: Sequence[Queued], candidates: Sequence[int], now: float) -> tuple[Selection, list[int]]:
        """What the engine takes of the candidates, and those that it cannot even look at, which are refused."""
        failed: list[int] = []
        try:
            selection = self._engine.select([queued[index] for index in candidates], now)
        except Exception:
            failed = [index for index in candidates if not self._can_be_selected(queued[index], now)]
            if not failed:  # it is the engine's own trouble
                raise
            candidates = [index for index in candidates if index not in failed]
            selection = self._engine.select([queued[index] for index in candidates], now)
        return Selection(tuple(candidates[index] for index in selection.indexes), selection.retry_at), failed

    def _can_be_selected(self, one: Queued, now: float) -> bool:
        try:
            self._engine.select([one], now)
        except Exception as error:  # noqa: BLE001  # it is this request's
            generation = one.item
            self.refused[generation] = Broken(generation, fault(error, "select", generation.job.delivery))
            return False
        return True


def _claim(queued: Queued) -> Claim:
    return Claim(queued.priority, queued.item.job.delivery.envelope.tenant, queued.tokens)


def _poison(generation: Generation, history: CrashHistory) -> Broken:
    error = PoisonRecord(
        f"The worker that ran this request ended unexpectedly {history.crashes} times, {history.alone} times with no "
        "other request running: it is not tried again."
    )
    return Broken(generation, error, history.crashes)
