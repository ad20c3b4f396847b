"""What one worker knows of one tenant's quota: its own use, in full, and what Redis last said of everybody's."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pelton.cache.quotas.window import Window
from pelton.pipeline.settings.quota import Quota

LOOK_MS = 250.0
"""How soon to look again whether one that runs has ended: nobody knows when that will be."""

Use = tuple[int, int, int]
"""A slot, and the requests and tokens charged in it."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that is to run: what names it wherever it runs, and the most tokens that it may take."""

    id: str
    tokens: int


@dataclass(slots=True)
class Account:
    """`used` and `running` are this worker's own. `unsent` names the slots that Redis does not know as they are,
    `ended` the reservations that it does not know to have ended. `everybodys` is what Redis last said of all workers,
    `since` what has changed here after that. `known`: Redis has said it while it knew of all.
    """

    used: dict[int, tuple[int, int]] = field(default_factory=dict)
    running: dict[str, tuple[int, int]] = field(default_factory=dict)
    unsent: set[int] = field(default_factory=set)
    ended: list[str] = field(default_factory=list)
    everybodys: dict[int, tuple[int, int]] = field(default_factory=dict)
    since: dict[int, tuple[int, int]] = field(default_factory=dict)
    known: bool = False

    @property
    def is_empty(self) -> bool:
        return not (self.used or self.running or self.ended or self.everybodys)

    def to_send(self) -> list[Use]:
        return [(slot, *self.used.get(slot, (0, 0))) for slot in sorted(self.unsent)]

    def granted(self, asks: Iterable[Ask], slot: int) -> None:
        """Redis has granted and charged these."""
        for ask in asks:
            _add(self.used, slot, 1, ask.tokens)
            _add(self.since, slot, 1, ask.tokens)
            self.running[ask.id] = (slot, ask.tokens)

    def told(self, sent: Iterable[Sequence[int]], ended: Sequence[str]) -> None:
        """Redis has these; what has changed since they were sent is still to be sent."""
        self.unsent -= {slot for slot, *use in sent if self.used.get(slot, (0, 0)) == tuple(use)}
        self.ended = [each for each in self.ended if each not in set(ended)]

    def heard(self, everybodys: Iterable[Use]) -> None:
        """What all have used, this worker's own use included."""
        self.everybodys = {slot: (requests, tokens) for slot, requests, tokens in everybodys}
        self.since = {}
        self.known = True

    def forgotten(self) -> None:
        """Redis may have lost what it was sent: all of it is sent again."""
        self.unsent.update(self.used)

    def part_waits(
        self, asks: Iterable[Ask], quota: Quota, window: Window, now_ms: float, workers: int
    ) -> Iterator[float]:
        """What this worker's part says of each ask, where those before it are granted for which it says 0: else the
        milliseconds to wait.

        What all had used when they could still be heard of counts as used by each in equal parts.
        """
        slot, granted = window.slot(now_ms), (0, 0)
        for ask in asks:
            wait_ms = 0.0
            for place, limit, charge in ((0, quota.requests_per_minute, 1), (1, quota.tokens_per_minute, ask.tokens)):
                if limit is not None:
                    slots = self.everybodys.keys() | self.since.keys() | {slot}
                    used = {each: self._part(each, place, workers) for each in slots}
                    used[slot] += granted[place]
                    # One larger than the part is within the quota all the same: it goes when nothing else counts.
                    wait_ms = max(wait_ms, window.wait_ms(used, max(limit / workers, charge), charge, now_ms))
            if quota.running is not None and len(self.running) + granted[0] >= max(1, quota.running // workers):
                wait_ms = max(wait_ms, LOOK_MS)
            if wait_ms == 0:
                granted = (granted[0] + 1, granted[1] + ask.tokens)
            yield wait_ms

    def grant(self, ask: Ask, slot: int) -> None:
        """Charge it without Redis."""
        self._charge(slot, 1, ask.tokens)
        self.running[ask.id] = (slot, ask.tokens)

    def settle(self, name: str, requests: int, tokens: int) -> None:
        """A request has ended, and counts so much in truth."""
        reserved = self.running.pop(name, None)
        if reserved is None:
            return
        slot, estimate = reserved
        self.ended.append(name)
        if slot in self.used:  # else it has left the window
            self._charge(slot, requests - 1, tokens - estimate)

    def forget_before(self, slot: int) -> None:
        """Older slots have left the window."""
        for uses in (self.used, self.everybodys, self.since):
            for old in [each for each in uses if each < slot]:
                del uses[old]
        self.unsent = {each for each in self.unsent if each >= slot}

    def _charge(self, slot: int, requests: int, tokens: int) -> None:
        _add(self.used, slot, requests, tokens)
        _add(self.since, slot, requests, tokens)
        self.unsent.add(slot)

    def _part(self, slot: int, place: int, workers: int) -> float:
        everybodys, since = self.everybodys.get(slot, (0, 0)), self.since.get(slot, (0, 0))
        return everybodys[place] / workers + since[place]


def _add(uses: dict[int, tuple[int, int]], slot: int, requests: int, tokens: int) -> None:
    before = uses.get(slot, (0, 0))
    uses[slot] = (before[0] + requests, before[1] + tokens)
