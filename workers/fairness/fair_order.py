"""The order in which waiting requests are offered to the engine: by lane, and by what each tenant was given in it.

Each tenant has a counter of the tokens it was given, divided by its weight; the one with the least goes next. This is
the Virtual Token Counter of Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024): as fair as deficit
round robin, without a quantum to choose. A request is charged its estimate when it joins the engine, and the difference
when it ends. A tenant that comes back begins at the least counter of those that waited: time away earns no credit.
"""

import heapq
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

MAX_REMEMBERED = 10_000
"""Counters of tenants that do not wait; beyond it those that were given least are forgotten, at no cost to them."""

Account = tuple[int, str]
"""A lane and a tenant."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a waiting request asks for: tokens, prompt and the most it may generate."""

    lane: int
    tenant: str
    tokens: int

    @property
    def account(self) -> Account:
        return self.lane, self.tenant


@dataclass(slots=True)
class FairOrder:
    """Used on the inference thread only. `weights` are by tenant, 1 where none is named."""

    weights: Mapping[str, float]
    _given: dict[Account, float] = field(default_factory=dict)
    _waiting: set[Account] = field(default_factory=set)
    _floor: dict[int, float] = field(default_factory=dict)
    """By lane: where a tenant begins that comes when nobody waits."""

    def order(self, claims: Sequence[Claim]) -> list[int]:
        """Indexes of `claims`, which are in order of arrival, as they are to go."""
        queues: dict[Account, list[int]] = {}
        for index, claim in enumerate(claims):
            queues.setdefault(claim.account, []).append(index)
        self.welcome(queues.keys())
        lanes = sorted({lane for lane, _ in queues}, reverse=True)
        return [index for lane in lanes for index in self._lane(lane, queues, claims)]

    def charge(self, claim: Claim) -> None:
        """Its request joins the engine."""
        self._add(claim, claim.tokens)

    def settle(self, claim: Claim, tokens: int) -> None:
        """Its request has ended, and took so many tokens in truth."""
        self._add(claim, tokens - claim.tokens)

    def _add(self, claim: Claim, tokens: int) -> None:
        account = claim.account
        given = self._given.get(account, self._floor.get(claim.lane, 0.0))
        self._given[account] = given + tokens / self.weights.get(claim.tenant, 1.0)

    def welcome(self, accounts: AbstractSet[Account]) -> None:
        """These wait now: lift those that come to the least of those that waited before them.

        Part of `order`; enough by itself where there is nothing to choose, as one account alone waits.
        """
        for lane in {lane for lane, _ in accounts}:
            stayed = [self._given[account] for account in self._waiting & accounts if account[0] == lane]
            if stayed:
                self._floor[lane] = max(self._floor.get(lane, 0.0), min(stayed))
            floor = self._floor.get(lane, 0.0)
            for account in accounts - self._waiting:
                if account[0] == lane:
                    self._given[account] = max(floor, self._given.get(account, floor))
        self._waiting = set(accounts)
        if len(self._given) > MAX_REMEMBERED + len(accounts):
            away = sorted(self._given.keys() - self._waiting, key=self._given.__getitem__)
            for account in away[: len(away) // 2]:
                del self._given[account]

    def _lane(self, lane: int, queues: Mapping[Account, list[int]], claims: Sequence[Claim]) -> list[int]:
        mine = {account: queue for account, queue in queues.items() if account[0] == lane}
        if len(mine) == 1:
            [only] = mine.values()
            return only
        heap = [(self._given[account], queue[0], account, 0) for account, queue in mine.items()]
        heapq.heapify(heap)
        order: list[int] = []
        while heap:
            given, index, account, place = heap[0]
            order.append(index)
            queue = mine[account]
            if place + 1 == len(queue):
                heapq.heappop(heap)
            else:
                given += claims[index].tokens / self.weights.get(account[1], 1.0)
                heapq.heapreplace(heap, (given, queue[place + 1], account, place + 1))
        return order
