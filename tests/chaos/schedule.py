"""Which fault strikes what, when, and for how long: a pure function of the seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

SETTLE_S = 4.0
"""What was struck is left alone for so long after it: the time that it takes to start, and a worker to join."""
THAW_S = 1.0
"""The same for a server that lived on through it."""


class Fault(StrEnum):
    KILL = "kill"
    """A worker, all its processes, by SIGKILL; another is started in its place."""
    CRASH = "crash"
    """The process that runs the engine by SIGKILL; its parent starts another."""
    ORPHAN = "orphan"
    """The parent of that process by SIGKILL: what it leaves behind must give way to its successor."""
    KILL_ALL = "kill-all"
    """Every worker at once."""
    FREEZE = "freeze"
    """A worker by SIGSTOP for longer than its session, then SIGCONT: it wakes up as a zombie."""
    TERMINATE = "terminate"
    """A worker by SIGTERM: it drains, and another is started in its place."""
    LEAVE = "leave"
    """A worker drains and stays away for a while."""
    JOIN = "join"
    """One more worker comes for a while, then drains."""
    BROKER_KILL = "broker-kill"
    """Kafka by SIGKILL; it starts again on the same data."""
    BROKER_FREEZE = "broker-freeze"
    """Kafka by SIGSTOP, then SIGCONT: what was on its way to it arrives late."""
    BROKER_STUTTER = "broker-stutter"
    """Kafka stopped and continued several times a second: what takes milliseconds takes a second."""
    CACHE_KILL = "cache-kill"
    """Valkey by SIGKILL; it starts again, empty."""
    CACHE_FREEZE = "cache-freeze"
    """Valkey by SIGSTOP, then SIGCONT: it takes connections and does not answer."""
    CACHE_FULL = "cache-full"
    """Valkey has no memory left: it answers, and refuses every write."""
    REPLIES_RENEWED = "replies-renewed"
    """A reply topic that senders name is deleted, stays away for a while, and is made anew."""
    REPLIES_GROWN = "replies-grown"
    """The default reply topic has one partition more, which senders ask for at once."""
    REQUESTS_GROWN = "requests-grown"
    """The request topic has one partition more, which senders use at once."""
    REQUESTS_RENEWED = "requests-renewed"
    """Another request topic is deleted with requests in it that run or wait, and made anew."""
    OFFSETS_BACK = "offsets-back"
    """All workers are stopped, and what the group has committed of some partitions is moved back."""
    OFFSETS_BEYOND = "offsets-beyond"
    """The same, to where no log reaches."""
    ODD_RECORDS = "odd-records"
    """Every topic that is read gets records of all kinds that nobody should send."""
    POISON = "poison"
    """A request that kills the worker it reaches."""


OPERATORS = (
    Fault.REPLIES_RENEWED,
    Fault.REPLIES_GROWN,
    Fault.REQUESTS_GROWN,
    Fault.REQUESTS_RENEWED,
    Fault.OFFSETS_BACK,
    Fault.OFFSETS_BEYOND,
    Fault.ODD_RECORDS,
)
"""What an operator or a sender does."""
PROCESSES = tuple(fault for fault in Fault if fault not in (*OPERATORS, Fault.POISON))
"""What happens to processes."""
QUICK = {"PELTON_ENGINE__SIMULATED__ITL_MS": "15"}
"""An engine for storms of less than a minute."""


ONE_WORKER = frozenset({Fault.KILL, Fault.CRASH, Fault.ORPHAN, Fault.FREEZE, Fault.TERMINATE, Fault.LEAVE})
ALL_WORKERS = frozenset({Fault.KILL_ALL, Fault.OFFSETS_BACK, Fault.OFFSETS_BEYOND})
STOPPED_S = 8.0
"""How long it takes to stop all workers and to move what they have committed."""
SPARED_SERVER = frozenset({Fault.BROKER_FREEZE, Fault.BROKER_STUTTER, Fault.CACHE_FREEZE, Fault.CACHE_FULL})
SERVER_OF = {
    Fault.BROKER_KILL: "broker",
    Fault.BROKER_FREEZE: "broker",
    Fault.BROKER_STUTTER: "broker",
    Fault.CACHE_KILL: "cache",
    Fault.CACHE_FREEZE: "cache",
    Fault.CACHE_FULL: "cache",
}


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault. `target` is a worker's number where the fault is one worker's; `lasts_s` 0 is over at once."""

    at_s: float
    fault: Fault
    lasts_s: float = 0.0
    target: int | None = None


@dataclass(frozen=True, slots=True)
class Storm:
    """What a schedule is drawn from: `strikes` faults of `kinds` and `poison` poisonous requests over `seconds`."""

    seconds: float
    strikes: int
    workers: int
    session_s: float
    kinds: tuple[Fault, ...] = tuple(fault for fault in Fault if fault is not Fault.POISON)
    poison: int = 0
    lead_s: float = 2.0
    """How much peace it begins with."""
    lasts_s: float | None = None
    """How long each fault lasts, where that is not to be drawn."""


def schedule(seed: int, storm: Storm) -> tuple[Strike, ...]:
    """The strikes, in order of time.

    Each kind appears as often as the others, give or take one. Faults may overlap, but a second one never hits what the
    first one holds, and one worker at least is left alone (`ALL_WORKERS` apart). Where that needs
    it, a strike is put off.
    """
    rng = random.Random(seed)
    gap = (storm.seconds - storm.lead_s) / max(storm.strikes, 1)
    free_at = _FreeAt(storm.workers)
    strikes = [Strike(rng.uniform(storm.lead_s, storm.seconds), Fault.POISON) for _ in range(storm.poison)]
    for number, fault in enumerate(_deck(rng, storm)):
        at_s = storm.lead_s + (number + rng.random()) * gap
        drawn_s = _length_s(rng, fault, storm.session_s)
        lasts_s = drawn_s if storm.lasts_s is None else storm.lasts_s
        strikes.append(free_at.place(rng, at_s, fault, lasts_s))
    return tuple(sorted(strikes, key=lambda strike: strike.at_s))


def _deck(rng: random.Random, storm: Storm) -> Iterator[Fault]:
    dealt = 0
    while dealt < storm.strikes:
        for fault in rng.sample(storm.kinds, min(len(storm.kinds), storm.strikes - dealt)):
            dealt += 1
            yield fault


_LENGTHS_S = {
    Fault.LEAVE: (3.0, 12.0),
    Fault.JOIN: (3.0, 12.0),
    Fault.BROKER_KILL: (0.0, 5.0),
    Fault.BROKER_FREEZE: (1.0, 8.0),
    Fault.BROKER_STUTTER: (1.0, 8.0),
    Fault.CACHE_KILL: (1.0, 8.0),
    Fault.CACHE_FREEZE: (1.0, 8.0),
    Fault.CACHE_FULL: (1.0, 8.0),
    Fault.REPLIES_RENEWED: (0.0, 4.0),
    Fault.REQUESTS_RENEWED: (0.0, 10.0),
}


def _length_s(rng: random.Random, fault: Fault, session_s: float) -> float:
    if fault is Fault.FREEZE:
        return session_s * rng.uniform(1.05, 2.0)
    if fault in (Fault.OFFSETS_BACK, Fault.OFFSETS_BEYOND):
        return STOPPED_S
    return rng.uniform(*_LENGTHS_S[fault]) if fault in _LENGTHS_S else 0.0


def settle_s(fault: Fault) -> float:
    """How long what it struck is left alone after it."""
    return THAW_S if fault in SPARED_SERVER else SETTLE_S


class _FreeAt:
    """When each worker, the broker and the cache are whole again."""

    def __init__(self, workers: int) -> None:
        self._workers = [0.0] * workers
        self._servers = dict.fromkeys(SERVER_OF.values(), 0.0)

    def place(self, rng: random.Random, at_s: float, fault: Fault, lasts_s: float) -> Strike:
        if fault in ONE_WORKER:
            at_s = max(at_s, sorted(self._workers)[:2][-1])  # two are whole: one to strike, one to go on
            target = rng.choice([number for number, free_s in enumerate(self._workers) if free_s <= at_s])
            self._workers[target] = at_s + lasts_s + SETTLE_S
            return Strike(at_s, fault, lasts_s, target)
        if fault in ALL_WORKERS:
            at_s = max(at_s, *self._workers)
            self._workers = [at_s + lasts_s + SETTLE_S] * len(self._workers)
        elif fault in SERVER_OF:
            server = SERVER_OF[fault]
            at_s = max(at_s, self._servers[server])
            self._servers[server] = at_s + lasts_s + settle_s(fault)
        return Strike(at_s, fault, lasts_s)


def last_s(strikes: Sequence[Strike]) -> float:
    """When the last fault is over."""
    return max((strike.at_s + strike.lasts_s for strike in strikes), default=0.0)
