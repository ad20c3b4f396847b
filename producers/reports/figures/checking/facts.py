"""The numbers of tables and paragraphs as facts: what each says of which thing, in which period."""

import math
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TypeVar

from pelton.producers.reports.figures.checking.acronyms import acronyms_of
from pelton.producers.reports.figures.checking.intent import speaks_of_change
from pelton.producers.reports.figures.checking.matching import mantissa, mantissa_range
from pelton.producers.reports.figures.checking.timing.alignment import periods_of
from pelton.producers.reports.figures.checking.timing.cell_periods import cell_periods, latest_two, movements
from pelton.producers.reports.figures.checking.words import stems
from pelton.producers.reports.figures.lexing.lexer import scan
from pelton.producers.reports.figures.lexing.periods import Period, mentions
from pelton.producers.reports.figures.model import Cell, Table
from pelton.producers.reports.figures.quantity import Quantity
from pelton.producers.reports.figures.tables.text_numbers import sentences

Key = TypeVar("Key", bound=Hashable)

_MAX_SENTENCES = 5000
_DASH = re.compile(r"[$€£]?\s?[-\u2012-\u2015\u2212]")
_NO_LETTERS = re.compile(r"[^a-z%]+")
# What differs between the columns of one thing: signs, scales, audit marks, notes.
_BESIDE_THE_NAME = re.compile(
    r"\b(?:weeks|months|quarters?|restated|unaudited|audited|revised|reported|recast|as adjusted|see|"
    r"notes?|years?|ended|ending|as|of|at|the|"
    r"fiscal|thousands?|millions?|billions?|in|m|mn|bn|k|us|usd|eur|gbp)\b"
)


@dataclass(frozen=True, slots=True)
class Fact:
    """One number of a source.

    Args:
        own: words that name it: its row's label, or its sentence.
        around: words of its group, its column and its table, which may name it as well.
        periods: what it is said of; empty where nothing says.
        series: what it shares with the same thing's numbers of other periods.
        compares: it stands in a column of changes, between the two latest of `periods`.

    """

    id: str
    quantity: Quantity
    quote: str
    own: frozenset[str]
    around: frozenset[str]
    periods: tuple[Period, ...]
    series: tuple[str, ...]
    row: tuple[str, int]
    column: int
    about: str
    from_table: bool = True
    compares: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """The same thing over periods; facts in the order of the source."""

    key: tuple[str, ...]
    own: frozenset[str]
    around: frozenset[str]
    facts: tuple[Fact, ...]

    @property
    def is_total(self) -> bool:
        return "total" in self.own or not self.own


@dataclass(frozen=True)
class Facts:
    """All facts of a record, with the words by which series are found."""

    all: tuple[Fact, ...]
    series: tuple[Series, ...]
    weights: dict[str, float]
    by_word: dict[str, tuple[int, ...]]
    by_group: dict[tuple[str, str], tuple[int, ...]]
    by_row: dict[tuple[str, int], tuple[int, ...]]
    by_name: dict[tuple[str, str, str], tuple[int, ...]]
    mantissas: tuple[float, ...]
    by_mantissa: tuple[int, ...]
    table_words: frozenset[str]
    currencies: frozenset[str]
    acronyms: Mapping[str, frozenset[str]]
    periods: frozenset[Period] = field(default_factory=frozenset)

    def near(self, quantity: Quantity) -> Iterable[Fact]:
        """The facts that may be this number at some scale, within the precision that it is written in."""
        low, high = mantissa_range(quantity)
        for shift in (0.1, 1.0, 10.0):
            start, stop = bisect_left(self.mantissas, low * shift), bisect_right(self.mantissas, high * shift)
            yield from (self.all[index] for index in self.by_mantissa[start:stop])

    def in_row(self, row: tuple[str, int]) -> list[Fact]:
        """The facts of one row of a table, or of one sentence."""
        return [self.all[index] for index in self.by_row.get(row, ())]

    def of_one_name(self, key: tuple[str, ...]) -> list[Series]:
        """The series of a table under one label and heading, in whatever group."""
        return [self.series[index] for index in self.by_name.get((key[0], key[2], key[-1]), ())]

    def in_group(self, table: str, group: str) -> list[Series]:
        """The series under one group label of a table."""
        return [self.series[index] for index in self.by_group.get((table, group), ())]


def collect(tables: Sequence[Table], paragraphs: Sequence[str]) -> Facts:
    """The facts of tables and paragraphs; linear in their size."""
    facts = [fact for table in tables for fact in (*_table_facts(table), *_label_facts(table))]
    for number, paragraph in enumerate(paragraphs, start=1):
        facts += _paragraph_facts(f"P{number}", paragraph)
    series = _series(facts)
    counts: dict[str, list[int]] = defaultdict(list)
    for index, one in enumerate(series):
        for word in one.own | one.around:
            counts[word].append(index)
    weights = {word: math.log(1 + len(series) / len(places)) for word, places in counts.items()}
    ordered = sorted((mantissa(fact.quantity.value), index) for index, fact in enumerate(facts))
    texts = (
        [cell.text for table in tables for cell in table.cells] + [table.caption for table in tables] + [*paragraphs]
    )
    return Facts(
        tuple(facts),
        tuple(series),
        weights,
        {word: tuple(places) for word, places in counts.items()},
        _grouped((one.key[0], one.key[1]) if one.facts[0].from_table else None for one in series),
        _grouped(fact.row for fact in facts),
        _grouped((one.key[0], one.key[2], one.key[3]) if one.facts[0].from_table else None for one in series),
        tuple(digits for digits, _ in ordered),
        tuple(index for _, index in ordered),
        frozenset(word for fact in facts if fact.from_table for word in fact.own | fact.around),
        frozenset(fact.quantity.unit[:3] for fact in facts if fact.quantity.is_money),
        acronyms_of(cell.label for table in tables for cell in table.numeric),
        frozenset(mention.period for text in texts for mention in mentions(text)),
    )


def _grouped(keys: Iterable[Key | None]) -> dict[Key, tuple[int, ...]]:
    """The places of each key, without those that have none."""
    grouped: dict[Key, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        if key is not None:
            grouped[key].append(index)
    return {key: tuple(places) for key, places in grouped.items()}


def _series(facts: Iterable[Fact]) -> list[Series]:
    grouped: dict[tuple[str, ...], list[Fact]] = defaultdict(list)
    for fact in facts:
        grouped[fact.series].append(fact)
    return [Series(key, group[0].own, group[0].around, tuple(group)) for key, group in grouped.items()]


def _table_facts(table: Table) -> Iterable[Fact]:
    caption = stems(table.caption)
    times = latest_two(table)
    moved = movements(table)
    for cell, quantity in _with_dashes(table):
        group, _, own = cell.label.rpartition(" — ")
        periods = cell_periods(cell, group, own) or moved.get(cell.row, ())
        compares = not periods and speaks_of_change(cell.heading)
        yield Fact(
            cell.id,
            quantity,
            cell.text,
            stems(own),
            stems(group) | stems(cell.heading) | caption,
            times if compares else periods,
            (table.id, _without_periods(group), _without_periods(own), _without_periods(cell.heading)),
            (table.id, cell.row),
            cell.column,
            ", ".join(part for part in (cell.label, cell.heading) if part),
            compares=compares,
        )


def _label_facts(table: Table) -> Iterable[Fact]:
    """The rates that labels name things by: "5.250% senior notes due 2028"."""
    labels = {cell.label: cell for cell in reversed(table.numeric) if "%" in cell.label}
    for label, cell in labels.items():
        name = f"{table.id}.r{cell.row}.c1"
        for place, number in enumerate(scan(label).amounts):
            if number.quantity.is_rate:
                key = (name, "", str(place))
                words = stems(label)
                yield Fact(
                    name, number.quantity, label, words, frozenset(), (), key, (name, 0), place, label, from_table=False
                )


def _with_dashes(table: Table) -> Iterable[tuple[Cell, Quantity]]:
    """The numeric cells, and the dashes beside them, with which accounts write zero."""
    rows = {cell.row: cell.quantity for cell in reversed(table.numeric)}
    for cell in table.cells:
        beside = rows.get(cell.row)
        if cell.quantity is not None:
            yield cell, cell.quantity
        elif beside is not None and _DASH.fullmatch(cell.text):
            yield cell, replace(beside, value=Decimal(0))


def _without_periods(text: str) -> str:
    """What a label says beside periods, so that the columns of 2019 and 2018 are one series."""
    rest = list(text)
    for mention in mentions(text):
        rest[mention.start : mention.end] = " " * (mention.end - mention.start)
    letters = _NO_LETTERS.sub(" ", "".join(rest).lower())
    return " ".join(_BESIDE_THE_NAME.sub(" ", letters).split())


def _paragraph_facts(name: str, paragraph: str) -> Iterable[Fact]:
    inherited: tuple[Period, ...] = ()
    for index, (start, end) in enumerate(sentences(paragraph)[:_MAX_SENTENCES]):
        sentence = paragraph[start:end].strip()
        found = scan(sentence)
        words = stems(sentence)
        for place, number in enumerate(found.amounts):
            periods = periods_of(sentence, found, number) or inherited
            compares = len(periods) == 2 and speaks_of_change(sentence)  # noqa: PLR2004  # a change has two ends
            if compares:
                periods = tuple(
                    sorted(periods, key=lambda period: (period.year, period.month, period.part), reverse=True)
                )
            yield Fact(
                name,
                number.quantity,
                sentence,
                words,
                frozenset(),
                periods,
                (name, str(index), str(place)),
                (name, index),
                place,
                number.text,
                from_table=False,
                compares=compares,
            )
        if found.periods:
            inherited = tuple(mention.period for mention in found.periods)
