"""What tables tell about: their rows and their columns as things, the totals among them, and those that words name."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from pelton.producers.reports.figures.checking.facts import Fact, Facts
from pelton.producers.reports.figures.checking.points import says
from pelton.producers.reports.figures.checking.words import stems
from pelton.producers.reports.figures.lexing.periods import Period

_MAX_NAMED = 6
_LEAST_COVERED = 0.5  # of a label's words, by weight
_MAX_PARTS = 40
_FEWEST_PARTS = 2


@dataclass(frozen=True, slots=True)
class Thing:
    """A row of a table, or a column.

    Args:
        words: those of its label or heading; `around`: of the group that it stands in.
        facts: its numbers by their place across it: a row's by column, a column's by row.
        parts: the places of the things that add up to it, where it is a total.

    """

    place: int
    words: frozenset[str]
    around: frozenset[str]
    facts: Mapping[int, Fact]
    parts: tuple[int, ...] = ()

    def is_of(self, periods: Sequence[Period]) -> bool:
        return any(says(fact.periods, periods) for fact in self.facts.values())

    @property
    def is_total(self) -> bool:
        return bool(self.parts) or "total" in self.words


@dataclass(frozen=True, slots=True)
class View:
    """The things of a table one way: its rows, or its columns."""

    table: str
    things: tuple[Thing, ...]

    def parts_of(self, total: Thing) -> list[Thing]:
        return [thing for thing in self.things if thing.place in total.parts]

    def singles(self) -> list[Thing]:
        """All but the totals."""
        return [thing for thing in self.things if not thing.is_total and thing.words]


def views(facts: Facts) -> list[tuple[View, View]]:
    """The rows and the columns of each table, without columns of changes."""
    tables: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts.all:
        if fact.from_table and not fact.compares:
            tables[fact.row[0]].append(fact)
    return [(View(table, _rows(found)), View(table, _columns(found))) for table, found in tables.items()]


def named(
    view: View, words: frozenset[str], weights: Mapping[str, float], periods: Sequence[Period] = ()
) -> list[Thing]:
    """The things with numbers of the periods whose labels the words say, best first.

    Each is called by words that name none of those before it.
    """
    left = words
    chosen: list[Thing] = []
    candidates = [thing for thing in view.things if thing.words & words and thing.is_of(periods)]
    while candidates and len(chosen) < _MAX_NAMED:
        scored = [(_score(thing, words, left, weights), -thing.place, thing) for thing in candidates]
        score, _, best = max(scored, key=lambda one: one[:2])
        if not score:
            break
        alike = [thing for thing in candidates if thing.words == best.words and thing.around == best.around]
        chosen += alike
        left -= best.words
        candidates = [thing for thing in candidates if thing not in alike]
    return chosen


def _score(thing: Thing, words: frozenset[str], left: frozenset[str], weights: Mapping[str, float]) -> float:
    new = weigh(thing.words & left, weights)
    own = weigh(thing.words, weights)
    covered = weigh(thing.words & words, weights) / own if own else 0.0
    beside = 1 + weigh(thing.around & words, weights) / 100  # a tie is for the group that the words name
    return new * covered * covered * beside if new and covered >= _LEAST_COVERED else 0.0


def weigh(words: Iterable[str], weights: Mapping[str, float]) -> float:
    return sum(weights.get(word, 0.0) for word in words)


def _rows(facts: Sequence[Fact]) -> tuple[Thing, ...]:
    rows: dict[int, dict[int, Fact]] = defaultdict(dict)
    for fact in facts:
        rows[fact.row[1]][fact.column] = fact
    return _with_parts(
        [
            Thing(place, found[0].own, stems(found[0].series[1]), numbers)
            for place, numbers in sorted(rows.items())
            if (found := list(numbers.values()))
        ]
    )


def _columns(facts: Sequence[Fact]) -> tuple[Thing, ...]:
    columns: dict[int, dict[int, Fact]] = defaultdict(dict)
    for fact in facts:
        columns[fact.column][fact.row[1]] = fact
    return _with_parts(
        [
            Thing(place, stems(next(iter(found.values())).series[3]), frozenset(), found)
            for place, found in sorted(columns.items())
        ]
    )


def _with_parts(things: Sequence[Thing]) -> tuple[Thing, ...]:
    """Totals with what they add up: things before them, or else behind them."""
    found: list[Thing] = []
    for thing in things:
        found.append(replace(thing, parts=_parts(thing, found[::-1])))
    for index, thing in enumerate(found):
        if not thing.parts:
            found[index] = replace(thing, parts=_parts(thing, found[index + 1 :]))
    return tuple(found)


def _parts(total: Thing, beside: Sequence[Thing]) -> tuple[int, ...]:
    """The things straight beside that add up to it everywhere; a total among them stands for its own parts."""
    places = [place for place, fact in total.facts.items() if fact.quantity.amount and not fact.quantity.is_rate]
    sums = dict.fromkeys(places, Decimal(0))
    parts: list[int] = []
    covered: set[int] = set()
    for thing in beside[:_MAX_PARTS]:
        if thing.place in covered:
            continue
        for place in places:
            fact = thing.facts.get(place)
            sums[place] += fact.quantity.amount if fact else 0
        parts.append(thing.place)
        covered.update(thing.parts)
        is_enough = places and len(parts) >= _FEWEST_PARTS
        if is_enough and all(_is_sum(total.facts[at], sums[at], len(parts)) for at in places):
            return tuple(parts)
    return ()


def _is_sum(total: Fact, found: Decimal, count: int) -> bool:
    """Whether they are equal but for the rounding of each part."""
    unit = Decimal(1).scaleb(total.quantity.scale - total.quantity.decimals)
    return abs(total.quantity.amount - found) <= unit * count / 2
