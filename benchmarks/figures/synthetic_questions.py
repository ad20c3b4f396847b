"""Sentences about an invented table that end in a true figure."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations, pairwise
from typing import Any

from benchmarks.figures.synthetic_model import Column, Line, Sheet
from benchmarks.figures.synthetic_wordings import Wordings

AMOUNT, PERCENT, RATIO, COUNT = "", "percent", "ratio", "count"
_LEAST_RATIO = Decimal("0.1")  # below it two decimals hold hardly a digit


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its exact answer. `unit`: `percent`, `ratio`, `count`, or empty for the sheet's own."""

    operation: str
    fields: dict[str, str]
    value: Decimal
    unit: str = AMOUNT


def questions_of(rng: random.Random, sheet: Sheet, wordings: Wordings) -> Iterator[dict[str, Any]]:
    """One question for each operation that the sheet allows, in the form of TAT-QA's."""
    for asked in _all(rng, sheet):
        usable = [text for text in wordings[asked.operation] if text[0] != "+" or asked.value > 0]
        if not usable:
            continue
        text = " ".join(rng.choice(usable).removeprefix("+").format(**asked.fields).split())
        yield {
            "question": text[0].upper() + text[1:],
            "answer": _written(asked, sheet),
            "scale": {AMOUNT: sheet.scale, PERCENT: PERCENT}.get(asked.unit, ""),
            "derivation": asked.operation,
            "answer_type": "arithmetic",
            "operation": asked.operation,
        }


def _written(asked: Asked, sheet: Sheet) -> str:
    if asked.unit == COUNT:
        return f"{asked.value:,}"
    if asked.unit:
        return f"{asked.value:.2f}"
    is_finer = asked.operation.startswith("average") and asked.value != round(asked.value, sheet.decimals)
    text = f"{asked.value:,.{2 if is_finer else sheet.decimals}f}"
    return text if text[0] == "-" else sheet.sign + text


def _all(rng: random.Random, sheet: Sheet) -> Iterator[Asked]:
    column = rng.choice(sheet.columns)
    if sheet.columns[0].asked == "shares":
        yield from _of_awards(rng, sheet)
    elif len(sheet.columns) == 1:
        yield from _of_people(rng, sheet)
    else:
        at = sheet.columns.index(column)
        lines = [line for line in sheet.lines if all(line.values)]
        line = rng.choice(lines)
        yield Asked("value", {"x": name(line), "c": column.asked}, line.values[at])
        times = [place for place, one in enumerate(sheet.columns) if one.time]
        if len(times) > 1:
            yield from _over_time(rng, sheet, lines, times)
        yield from _of_things(rng, sheet, column, at)
        yield from _of_totals(rng, sheet, column, at)


def _of_awards(rng: random.Random, sheet: Sheet) -> Iterator[Asked]:
    granted, vested, forfeited = sheet.lines[1:4]
    line = rng.choice((granted, vested, forfeited))
    asked = line.label.lower()
    yield Asked("value", {"x": f"the number of shares {asked}", "c": ""}, line.values[0], COUNT)
    yield Asked("value", {"x": f"the weighted-average price of shares {asked}", "c": ""}, line.values[1])
    yield Asked("product", {"x": asked}, line.values[0] * line.values[1])
    both = {"x": "shares vested", "y": "shares forfeited", "c": ""}
    yield Asked("sum of things", both, vested.values[0] + forfeited.values[0], COUNT)


def _of_people(rng: random.Random, sheet: Sheet) -> Iterator[Asked]:
    line = rng.choice(sheet.lines)
    ages = [one.values[0] for one in sheet.lines]
    yield Asked("value", {"x": f"the age of {line.label}", "c": ""}, line.values[0], COUNT)
    yield Asked("average of all", {"t": "age of the executive officers"}, sum(ages) / Decimal(len(ages)), RATIO)
    yield Asked("count of all", {"t": "executive officers"}, Decimal(len(ages)), COUNT)


def _over_time(rng: random.Random, sheet: Sheet, lines: Sequence[Line], times: list[int]) -> Iterator[Asked]:
    early, late = rng.choice(list(combinations(times, 2)))
    ends = {"a": _when(sheet.columns[early]), "b": _when(sheet.columns[late])}
    is_money = bool(sheet.sign)
    for operation in ("change", "percent change", "average over time", "sum over time"):
        line = rng.choice(lines)
        old, new = line.values[early], line.values[late]
        fields = {"x": name(line), **ends}
        if operation == "change":
            yield Asked(operation, fields, new - old)
        elif operation == "percent change" and old > 0 and is_money:
            yield Asked(operation, fields, (new - old) / old * 100, PERCENT)
        elif operation == "average over time":
            run = [line.values[place] for place in times if early <= place <= late]
            yield Asked(operation, fields, sum(run, Decimal(0)) / len(run))
        elif operation == "sum over time" and late == early + 1 and is_money:
            yield Asked(operation, fields, old + new)
    line = rng.choice(lines)
    sizes = sorted(line.values)
    if sizes[0] > 0 and is_money:
        bound = round(max((two - one, (one + two) / 2) for one, two in pairwise(sizes))[1])
        over = sum(1 for value in line.values if value > bound)
        yield Asked("count of periods", {"x": name(line), "n": _bound(sheet, bound)}, Decimal(over), COUNT)
    part, total = _part_and_total(rng, sheet)
    if part and total:
        shares = [part.values[place] / total.values[place] * 100 for place in (early, late)]
        yield Asked("change of share", {"x": name(part), "t": name(total), **ends}, shares[1] - shares[0], PERCENT)
    parts = [line for line in lines if line.kind == "part"]
    if len(parts) > 2:  # two things, and others to take for them
        one, two = rng.sample(parts, 2)
        sums = [one.values[place] + two.values[place] for place in (early, late)]
        fields = {"x": name(one), "y": name(two), **ends}
        yield Asked("change of sum", fields, (sums[1] - sums[0]) / sums[0] * 100, PERCENT)


def _of_things(rng: random.Random, sheet: Sheet, column: Column, at: int) -> Iterator[Asked]:
    parts = [line for line in sheet.lines if line.kind == "part" and line.values[at]]
    if len(parts) < 4:  # three things, and one to take for them
        return
    for operation in ("sum of things", "difference", "ratio", "average of things"):
        one, two = sorted(rng.sample(parts, 2), key=lambda line: -line.values[at])
        x, y = one.values[at], two.values[at]
        value = {"sum of things": x + y, "difference": x - y, "ratio": x / y, "average of things": (x + y) / 2}[
            operation
        ]
        fields = {"x": name(one), "y": name(two), "c": column.asked}
        yield Asked(operation, fields, value, RATIO if operation == "ratio" else AMOUNT)
    three = rng.sample(parts, 3)
    fields = {"c": column.asked, **dict(zip("xyz", map(name, three), strict=True))}
    yield Asked("sum of three", fields, sum((line.values[at] for line in three), Decimal(0)))
    if all(line.of == "the portfolio" for line in parts):
        whole = sum((line.values[at] for line in parts), Decimal(0))
        yield Asked("sum of all", {"t": "the portfolio", "c": column.asked}, whole)


def _of_totals(rng: random.Random, sheet: Sheet, column: Column, at: int) -> Iterator[Asked]:
    part, total = _part_and_total(rng, sheet)
    if not part or not total or not total.values[at]:
        return
    x, t = part.values[at], total.values[at]
    fields = {"x": name(part), "t": name(total), "c": column.asked}
    yield Asked("share", fields, x / t * 100, PERCENT)
    yield Asked("all but one", fields, t - x)
    same = [line for line in sheet.lines if line.of == total.label]
    other = rng.choice([line for line in same if line is not part])
    if len(same) > 2:  # two of more than two
        yield Asked("share of two", {**fields, "y": name(other)}, (x + other.values[at]) / t * 100, PERCENT)
        sizes = sorted(line.values[at] for line in same)
        bound = round((sizes[0] + sizes[1]) / 2)
        over = sum(1 for value in sizes if value > bound)
        fields = {"t": name(total), "n": _bound(sheet, bound), "c": column.asked}
        yield Asked("count of things", fields, Decimal(over), COUNT)


def _part_and_total(rng: random.Random, sheet: Sheet) -> tuple[Line | None, Line | None]:
    totals = {line.label: line for line in sheet.lines if line.kind == "total"}
    parts = [line for line in sheet.lines if line.of in totals and all(line.values)]
    part = rng.choice(parts) if parts else None
    return part, totals[part.of] if part else None


def name(line: Line) -> str:
    label = line.label.split(" (", maxsplit=1)[0]
    return label[0].lower() + label[1:]


def _when(column: Column) -> str:
    return column.asked.removeprefix("in ").removeprefix("at ")


def _bound(sheet: Sheet, bound: int) -> str:
    return f"{sheet.sign}{bound:,.0f} {sheet.scale}"
