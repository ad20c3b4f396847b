"""Sentences about an invented table that end in a true figure, in two sets of wordings."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations, pairwise
from typing import Any

from benchmarks.figures_synthetic_sheets import Column, Line, Sheet

# {x} and {y} are things, {t} a total, {c} a column, {a} and {b} an earlier and a later period, {n} a bound. A wording
# that says the direction is only for figures above zero.
Wordings = dict[str, tuple[str, ...]]
LOOKED_AT: Wordings = {
    "value": ("What was {x} {c}?", "How much {x} was recorded {c}?", "What is the amount of {x} {c}?"),
    "change": (
        "What was the change in {x} between {a} and {b}?",
        "What was the increase / (decrease) in {x} from {a} to {b}?",
    ),
    "percent change": (
        "What was the percentage change in {x} between {a} and {b}?",
        "What is the percentage increase / (decrease) in {x} from {a} to {b}?",
    ),
    "average": ("What was the average {x} for {a} and {b}?", "What is the average {x} between {a} and {b}?"),
    "sum over time": ("What was the total {x} in {a} and {b}?",),
    "sum of things": ("What was the sum of {x} and {y} {c}?", "What is the total of {x} and {y} {c}?"),
    "difference": ("What was the difference between {x} and {y} {c}?",),
    "share": (
        "What percentage of {t} was {x} {c}?",
        "What was {x} as a percentage of {t} {c}?",
        "What is the proportion of {x} over {t} {c}?",
    ),
    "ratio": ("What is the ratio of {x} to {y} {c}?",),
    "count of things": ("How many items of {t} were above {n} {c}?",),
    "count of periods": ("How many years did {x} exceed {n}?",),
    "change of share": ("What was the change in {x} as a percentage of {t} from {a} to {b}?",),
    "average of things": ("What was the average of {x} and {y} {c}?",),
}
NOT_LOOKED_AT: Wordings = {
    "value": ("{x} {c} amounted to", "For {x}, the company reported {c}", "How high was {x} {c}?", "{c}, {x} came to"),
    "change": (
        "By how much did {x} change from {a} to {b}?",
        "From {a} to {b}, {x} moved by",
        "+From {a} to {b}, {x} climbed by",
        "Compute the variation in {x} from {a} to {b}.",
    ),
    "percent change": (
        "How much did {x} change from {a} to {b} in percent?",
        "+{x} grew from {a} to {b} by",
        "What was the growth rate of {x} from {a} to {b}?",
        "Calculate the relative change of {x} between {a} and {b}:",
    ),
    "average": ("Averaged over {a} and {b}, {x} was", "What was the mean of {x} across {a} and {b}?"),
    "sum over time": ("Over {a} and {b} together, {x} came to", "How much was {x} in {a} and {b} combined?"),
    "sum of things": ("{c}, {x} and {y} together were", "How much were {x} and {y} combined {c}?"),
    "difference": (
        "+How much higher was {x} than {y} {c}?",
        "+{c}, {x} exceeded {y} by",
        "How large was the gap between {x} and {y} {c}?",
    ),
    "share": (
        "What share of {t} did {x} represent {c}?",
        "{c}, the part of {x} in {t} was",
        "{x} divided by {t} {c}, as a percentage, is",
    ),
    "ratio": ("What is {x} divided by {y} {c}?", "How many times {y} was {x} {c}?"),
    "count of things": ("How many of the lines in {t} were larger than {n} {c}?",),
    "count of periods": ("In how many of the years was {x} greater than {n}?",),
    "change of share": ("By how many percentage points did the share of {x} in {t} change from {a} to {b}?",),
    "average of things": ("{c}, {x} and {y} averaged", "What did {x} and {y} average {c}?"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its exact answer. `rate`: `%`, `ratio`, `count`, or empty for an amount at the sheet's scale."""

    operation: str
    fields: dict[str, str]
    value: Decimal
    rate: str = ""


def questions_of(rng: random.Random, sheet: Sheet, wordings: Wordings) -> Iterator[dict[str, Any]]:
    """One question for each operation that the sheet allows, in the form of TAT-QA's."""
    for asked in _all(rng, sheet):
        wording = rng.choice([text for text in wordings[asked.operation] if text[0] != "+" or asked.value > 0])
        text = " ".join(wording.removeprefix("+").format(**asked.fields).split())
        yield {
            "question": text[0].upper() + text[1:],
            "answer": _written(asked, sheet),
            "scale": "percent" if asked.rate == "%" else "" if asked.rate else sheet.scale if sheet.sign else "percent",
            "derivation": asked.operation,
            "answer_type": "arithmetic",
            "operation": asked.operation,
        }


def _written(asked: Asked, sheet: Sheet) -> str:
    if asked.rate == "count":
        return str(asked.value)
    if asked.rate:
        return f"{asked.value:.2f}"
    exact = asked.value.normalize()
    decimals = min(max(sheet.decimals, 0), 2)
    text = f"{exact:,.{2 if asked.operation.startswith('average') and exact != round(exact, decimals) else decimals}f}"
    return text if text[0] == "-" else sheet.sign + text


def _all(rng: random.Random, sheet: Sheet) -> Iterator[Asked]:
    column = rng.choice(sheet.columns)
    at = sheet.columns.index(column)
    lines = [line for line in sheet.lines if all(line.values)]
    line = rng.choice(lines)
    yield Asked("value", {"x": _name(line), "c": column.asked}, line.values[at])
    times = [place for place, one in enumerate(sheet.columns) if one.time]
    if len(times) > 1:
        yield from _over_time(rng, sheet, lines, times)
    yield from _in_one(rng, sheet, column, at)


def _over_time(rng: random.Random, sheet: Sheet, lines: Sequence[Line], times: list[int]) -> Iterator[Asked]:
    early, late = rng.choice(list(combinations(times, 2)))
    ends = {"a": _when(sheet.columns[early]), "b": _when(sheet.columns[late])}
    for operation in ("change", "percent change", "average", "sum over time"):
        line = rng.choice(lines)
        old, new = line.values[early], line.values[late]
        fields = {"x": _name(line), **ends}
        if operation == "change":
            yield Asked(operation, fields, new - old, "" if sheet.sign else "%")
        elif operation == "percent change" and old > 0 and sheet.sign:
            yield Asked(operation, fields, (new - old) / old * 100, "%")
        elif operation == "average":
            run = [line.values[place] for place in times if early <= place <= late]
            yield Asked(operation, fields, sum(run, Decimal(0)) / len(run))
        elif operation == "sum over time" and late == early + 1 and sheet.sign:
            yield Asked(operation, fields, old + new)
    line = rng.choice(lines)
    sizes = sorted(abs(value) for value in line.values)
    bound = max(((two - one, (one + two) / 2) for one, two in pairwise(sizes)), default=(Decimal(0), Decimal(0)))[1]
    if min(line.values) > 0 and sheet.sign:
        said = round(bound)
        over = sum(1 for value in line.values if value > said)
        yield Asked("count of periods", {"x": _name(line), "n": _bound(sheet, said)}, Decimal(over), "count")
    part, total = _part_and_total(rng, sheet)
    if part and total:
        shares = [part.values[place] / total.values[place] * 100 for place in (early, late)]
        yield Asked("change of share", {"x": _name(part), "t": _name(total), **ends}, shares[1] - shares[0], "%")


def _in_one(rng: random.Random, sheet: Sheet, column: Column, at: int) -> Iterator[Asked]:
    parts = [line for line in sheet.lines if line.kind == "part" and line.values[at]]
    if len(parts) > 2:  # noqa: PLR2004  # two things, and others to take for them
        for operation in ("sum of things", "difference", "ratio", "average of things"):
            one, two = rng.sample(parts, 2)
            x, y = one.values[at], two.values[at]
            value = {
                "sum of things": x + y,
                "difference": x - y,
                "ratio": x / y,
                "average of things": (x + y) / 2,
            }[operation]
            fields = {"x": _name(one), "y": _name(two), "c": column.asked}
            yield Asked(operation, fields, value, "ratio" if operation == "ratio" else "")
    part, total = _part_and_total(rng, sheet)
    if part and total and total.values[at]:
        fields = {"x": _name(part), "t": _name(total), "c": column.asked}
        yield Asked("share", fields, part.values[at] / total.values[at] * 100, "%")
        same = sorted(line.values[at] for line in parts if line.of == total.label)
        if len(same) > 2:  # noqa: PLR2004  # a bound between them
            bound = round((same[0] + same[1]) / 2)
            over = sum(1 for value in same if value > bound)
            fields = {"t": _name(total), "n": _bound(sheet, bound), "c": column.asked}
            yield Asked("count of things", fields, Decimal(over), "count")


def _part_and_total(rng: random.Random, sheet: Sheet) -> tuple[Line | None, Line | None]:
    totals = {line.label: line for line in sheet.lines if line.kind == "total"}
    parts = [line for line in sheet.lines if line.of in totals and all(line.values)]
    part = rng.choice(parts) if parts else None
    return part, totals[part.of] if part else None


def _name(line: Line) -> str:
    label = line.label.split(" (")[0]
    return label if label[1:2].isupper() else label[0].lower() + label[1:]


def _when(column: Column) -> str:
    return column.asked.removeprefix("in ")


def _bound(sheet: Sheet, bound: Decimal) -> str:
    return f"{sheet.sign}{bound:,.0f} {sheet.scale}"


def told(rng: random.Random, year: int, *, looked_at: bool) -> tuple[str, list[dict[str, Any]]]:
    """A paragraph and questions about its numbers."""
    costs, lease, tax = (rng.uniform(2, 900), rng.uniform(2, 900), rng.uniform(5, 40))
    last = costs * rng.uniform(0.6, 1.4)
    if looked_at:
        text = (
            f"Restructuring costs were ${costs:.1f} million and ${last:.1f} million in {year} and {year - 1}, respectively."
            f" The discount rate used for leases was {tax:.1f}%. Proceeds from the sale of a warehouse were ${lease:.1f} million."
        )
        asked = [
            ("What were the restructuring costs in {b}?", f"${costs:.1f}", "million", "prose value"),
            ("What was the discount rate used for leases?", f"{tax:.1f}", "percent", "prose value"),
            (
                "What was the change in restructuring costs from {a} to {b}?",
                f"{float(f'{costs:.1f}') - float(f'{last:.1f}'):.1f}",
                "million",
                "prose change",
            ),
        ]
    else:
        text = (
            f"Capital expenditure rose to ${costs:.1f} million in {year} from ${last:.1f} million in {year - 1}. "
            f"As of year-end {year}, ${lease:.1f} million of the credit facility was undrawn, at an interest rate of {tax:.2f}%."
        )
        percent = (float(f"{costs:.1f}") / float(f"{last:.1f}") - 1) * 100
        asked = [
            ("How much capital expenditure was there in {a}?", f"${last:.1f}", "million", "prose value"),
            ("The undrawn part of the credit facility was", f"${lease:.1f}", "million", "prose value"),
            ("What was the interest rate of the facility?", f"{tax:.2f}", "percent", "prose value"),
            ("By what percentage did capital expenditure change from {a} to {b}?", f"{percent:.2f}", "percent",
             "prose change"),
        ]  # fmt: skip
    return text, [
        {"question": question.format(a=year - 1, b=year), "answer": answer, "scale": scale, "derivation": operation,
         "answer_type": "span", "operation": operation}
        for question, answer, scale, operation in asked
    ]  # fmt: skip
