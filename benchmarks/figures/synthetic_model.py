"""What an invented table is made of: sectors and their words, amounts, and lines that add up."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

Grid = list[list[str]]

# What a sector reports: the name of the whole, its parts, the name of the costs, their parts.
SECTORS = {
    "airline": ("Total operating revenue", "Passenger fares|Cargo and mail|Ancillary services|Loyalty programme",
                "Total operating expenses", "Aircraft fuel|Landing fees|Crew salaries|Line maintenance"),
    "software": ("Net revenues", "Cloud subscriptions|Perpetual licences|Professional services|Customer training",
                 "Total costs and expenses", "Hosting|Research and development|Sales and marketing|Stock compensation"),
    "retail": ("Total sales", "Groceries|Home furnishings|Online marketplace|Fuel stations",
               "Total selling costs", "Store payroll|Rent of premises|Logistics|Advertising"),
    "mining": ("Total sales of metal", "Copper concentrate|Gold bullion|Zinc|By-products",
               "Total site costs", "Drilling and blasting|Haulage|Royalties|Power and water"),
    "bank": ("Total operating income", "Net interest income|Card fees|Custody commissions|Trading result",
             "Total operating costs", "Staff remuneration|Branch network|Deposit guarantee levies|Data processing"),
    "pharma": ("Product sales", "Oncology|Vaccines|Rare diseases|Consumer health",
               "Total functional costs", "Clinical trials|Manufacturing|Medical affairs|Patent litigation"),
    "utility": ("Total energy sales", "Household electricity|Industrial electricity|District heating|Gas distribution",
                "Total network costs", "Purchased power|Grid maintenance|Emission certificates|Meter reading"),
    "insurer": ("Gross written premiums", "Motor|Property|Marine and aviation|Travel",
                "Total claims incurred", "Bodily injury|Storm damage|Theft|Claims handling"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """`asked`: how a sentence names it: "in 2021", "as restated". `time` orders periods; 0 of what is none."""

    heading: str
    asked: str
    time: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """A thing and its number in each column. `kind`: `part`, `total`, or `single` for what adds up to nothing."""

    label: str
    values: tuple[Decimal, ...]
    kind: str = "part"
    of: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table as cells and as numbers. `sign` and `scale` are those of all its amounts, `%` of rates."""

    grid: Grid
    paragraphs: list[str]
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    sign: str
    scale: str
    decimals: int


@dataclass(frozen=True, slots=True)
class Money:
    sign: str
    scale: str
    decimals: int


def money(rng: random.Random) -> Money:
    return Money(
        rng.choice("$$€£"), rng.choice(("thousand", "million", "million", "billion")), rng.choice((0, 0, 1, 2))
    )


def amount(rng: random.Random, unit: Money) -> Decimal:
    size = Decimal(rng.choice((90, 900, 9000, 90000))) * Decimal(str(rng.uniform(0.15, 1)))
    return round(size, unit.decimals) if unit.decimals else size.to_integral_value()


def shown(value: Decimal, unit: Money, *, signed: bool = False) -> str:
    """As accounts write it: "(1,204)" below zero, a dash for zero."""
    if not value:
        return "—"
    text = f"{abs(value):,.{unit.decimals}f}"
    text = f"{unit.sign} {text}" if signed else text
    return f"({text})" if value < 0 else text


def moved(rng: random.Random, base: Decimal, unit: Money, count: int) -> tuple[Decimal, ...]:
    values = [base]
    for _ in range(count - 1):
        values.append(round(values[-1] * Decimal(str(rng.uniform(0.7, 1.4))), unit.decimals))
    return tuple(values)


def lines_of(rng: random.Random, sector: str, unit: Money, count: int) -> list[Line]:
    """The sector's revenue and costs with their totals, over `count` columns."""
    found = []
    for total, names in (SECTORS[sector][:2], SECTORS[sector][2:]):
        parts = [Line(name, moved(rng, amount(rng, unit), unit, count), of=total) for name in names.split("|")]
        parts = parts[: rng.choice((3, 4))]
        sums = tuple(sum(column, Decimal(0)) for column in zip(*(one.values for one in parts), strict=True))
        found += [*parts, Line(total, sums, "total")]
    gain = tuple(one - two for one, two in zip(*(one.values for one in found if one.kind == "total"), strict=True))
    return [*found, Line(rng.choice(("Operating result", "Operating profit (loss)")), gain, "single")]


def body(lines: Sequence[Line], unit: Money, order: Sequence[int], *, groups: dict[str, str]) -> Grid:
    grid: Grid = []
    for index, line in enumerate(lines):
        if line.of in groups and (index == 0 or lines[index - 1].of != line.of):
            grid.append([groups[line.of], *[""] * len(order)])
        signed = line.kind == "total" or index == 0
        grid.append([line.label, *(shown(line.values[place], unit, signed=signed) for place in order)])
    return grid


def prose(rng: random.Random, sector: str, columns: Sequence[Column]) -> list[str]:
    """Sentences with other numbers beside the table."""
    year = columns[-1].time
    tax, before = rng.uniform(11, 34), rng.uniform(11, 34)
    return [
        f"Our {sector} business is seasonal. We employed {rng.randint(1200, 98000):,} people at the end of {year}.",
        f"The effective tax rate was {tax:.1f}% in {year}, compared with {before:.1f}% in {year - 1}.",
    ]


CURRENCY_NAMES = {"$": "U.S. dollars", "€": "euros", "£": "pounds sterling"}
SHORT_SCALES = {"thousand": "'000", "million": "m", "billion": "bn"}
