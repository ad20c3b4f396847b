"""Suspects run apart: simulated crashes find the poison, and nobody else pays for it."""

import math
import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.workers.quarantine.crash_history import CrashHistory
from pelton.workers.quarantine.isolation import TURN_S, QuarantinePolicy
from tests.dice import DICE

MAX_LONE_CRASHES = 2


@dataclass
class World:
    """Requests 0 … n-1, an engine that dies when poison joins it, and suspicions that outlive it."""

    count: int
    poison: frozenset[int]
    capacity: int
    chance: random.Random
    blames: dict[int, CrashHistory] = field(default_factory=dict)
    answered: set[int] = field(default_factory=set)
    condemned: set[int] = field(default_factory=set)
    crashes: int = 0

    def run(self, most_crashes: int) -> None:
        while self.crashes <= most_crashes and not self._life():
            self.crashes += 1

    def _life(self) -> bool:
        """One worker's, from its start: true when it has dealt with everything, false when it has died."""
        isolation, engine, now = QuarantinePolicy(MAX_LONE_CRASHES), [], 0.0
        while True:
            gone = self.answered | self.condemned | set(engine)
            waiting = [i for i in range(self.count) if i not in gone]
            if not waiting and not engine:
                return True
            offer = isolation.offer([self.blames.get(i) for i in waiting], running=len(engine), now=now)
            self.condemned.update(waiting[index] for index in offer.condemned)
            joining = [waiting[index] for index in offer.candidates][: self.capacity - len(engine)]
            if offer.suspects and joining:
                assert not engine, "suspects joined an engine that was not empty"
                isolation.began()
            if engine and joining:
                assert not any(i in self.blames for i in engine), "somebody joined a group of suspects"
            engine += joining
            if self.poison.intersection(engine):
                for i in engine:
                    self.blames[i] = self.blames.get(i, CrashHistory()).after_crash(len(engine))
                return False
            leaving = self.chance.sample(engine, self.chance.randint(min(1, len(engine)), len(engine)))
            for i in leaving:
                engine.remove(i)
                self.answered.add(i)
                self.blames.pop(i, None)
            now += self.chance.uniform(0.0, TURN_S)


worlds = st.integers(1, 128).flatmap(
    lambda count: st.builds(
        World,
        count=st.just(count),
        poison=st.frozensets(st.integers(0, count - 1), max_size=4),
        capacity=st.integers(1, 128),
        chance=DICE,
    )
)


@settings(deadline=None, max_examples=100)
@given(worlds)
def test_exactly_the_poison_is_condemned_within_a_bounded_number_of_crashes(world: World) -> None:
    """However requests come and go, each poison costs at most log2(n) + 2 + the crashes it must cause alone."""
    bound = len(world.poison) * (math.log2(world.count) + 2 + MAX_LONE_CRASHES)
    world.run(math.floor(bound))
    assert world.condemned == world.poison
    assert world.answered == set(range(world.count)) - world.poison
    assert world.crashes <= bound


def test_one_poison_among_256_in_flight_costs_six_crashes() -> None:
    """A quarter remains after each: 256, 64, 16, 4, 1, and alone once more."""
    world = World(256, frozenset({255}), 256, random.Random(0))
    world.run(100)
    assert world.condemned == {255}
    assert world.crashes == 6


def test_one_stray_sigkill_condemns_nobody() -> None:
    """A request that was alone in a worker that somebody killed is suspected, runs again, and is answered."""
    world = World(1, frozenset(), 256, random.Random(0), blames={0: CrashHistory().after_crash(1)})
    world.run(0)
    assert (world.answered, world.condemned) == ({0}, set())


def test_suspects_and_others_take_turns() -> None:
    """After a group of suspects the others get their turn even if suspects still wait, and after it suspects again."""
    isolation = QuarantinePolicy(MAX_LONE_CRASHES, turn_s=1.0)
    lone = CrashHistory(crashes=3, together=1, alone=1)
    first = isolation.offer([None, lone, lone], running=0, now=0.0)
    assert (first.candidates, first.suspects) == ((1,), True)
    isolation.began()
    assert isolation.offer([None, lone], running=1, now=5.0).candidates == ()
    turn = isolation.offer([None, lone, None], running=0, now=9.0)
    assert (turn.candidates, turn.suspects, turn.look_again) == ((0, 2), False, 10.0)
    assert isolation.offer([lone, None], running=2, now=9.9).candidates == (1,)
    assert isolation.offer([lone, None], running=2, now=10.0).candidates == ()
    again = isolation.offer([lone, None], running=0, now=30.0)
    assert (again.candidates, again.suspects) == ((0,), True)


def test_a_turn_that_nobody_wants_is_not_waited_for() -> None:
    """Where only suspects wait, the next group follows at once."""
    isolation = QuarantinePolicy(MAX_LONE_CRASHES)
    suspect = CrashHistory(crashes=1, together=8)
    isolation.offer([suspect] * 4, running=0, now=0.0)
    isolation.began()
    assert isolation.offer([suspect] * 2, running=0, now=0.1).candidates == (0, 1)


def test_a_group_has_one_history_and_the_largest_goes_first() -> None:
    """Most innocents are cleared soonest, and no suspect runs with more others than its last crash left it."""
    isolation = QuarantinePolicy(MAX_LONE_CRASHES)
    near, far = CrashHistory(crashes=2, together=4), CrashHistory(crashes=1, together=8)
    assert isolation.offer([near, far, near, far, far], running=0, now=0.0).candidates == (1, 3)


def test_the_condemned_are_named_whatever_else_goes_on() -> None:
    """Poison gets its answer even while a group of suspects runs."""
    isolation = QuarantinePolicy(MAX_LONE_CRASHES)
    poison = CrashHistory(crashes=9, together=1, alone=2)
    isolation.offer([CrashHistory(1, 2, 0)], running=0, now=0.0)
    isolation.began()
    assert isolation.offer([poison, None], running=1, now=0.0).condemned == (0,)
