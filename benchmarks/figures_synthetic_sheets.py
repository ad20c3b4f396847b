"""Invented financial tables in the shapes that reports have, with the numbers behind their cells."""

import random
from collections.abc import Callable, Sequence
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


def _moved(rng: random.Random, base: Decimal, unit: Money, count: int) -> tuple[Decimal, ...]:
    values = [base]
    for _ in range(count - 1):
        values.append(round(values[-1] * Decimal(str(rng.uniform(0.7, 1.4))), unit.decimals))
    return tuple(values)


def lines_of(rng: random.Random, sector: str, unit: Money, count: int) -> list[Line]:
    """The sector's revenue and costs with their totals, over `count` columns."""
    found = []
    for total, names in (SECTORS[sector][:2], SECTORS[sector][2:]):
        parts = [Line(name, _moved(rng, amount(rng, unit), unit, count), of=total) for name in names.split("|")]
        parts = parts[: rng.choice((3, 4))]
        sums = tuple(sum(column, Decimal(0)) for column in zip(*(one.values for one in parts), strict=True))
        found += [*parts, Line(total, sums, "total")]
    gain = tuple(one - two for one, two in zip(*(one.values for one in found if one.kind == "total"), strict=True))
    return [*found, Line(rng.choice(("Operating result", "Operating profit (loss)")), gain, "single")]


def _body(lines: Sequence[Line], unit: Money, order: Sequence[int], *, groups: dict[str, str]) -> Grid:
    grid: Grid = []
    for index, line in enumerate(lines):
        if line.of in groups and (index == 0 or lines[index - 1].of != line.of):
            grid.append([groups[line.of], *[""] * len(order)])
        signed = line.kind == "total" or index == 0
        grid.append([line.label, *(shown(line.values[place], unit, signed=signed) for place in order)])
    return grid


def annual(rng: random.Random, sector: str) -> Sheet:
    """Years across, the newest first, under the scale in the corner."""
    unit, last = money(rng), rng.randint(2011, 2023)
    count = rng.choice((2, 3, 3))
    lines = lines_of(rng, sector, unit, count)
    years = [last - count + 1 + place for place in range(count)]
    order = list(reversed(range(count)))
    corner = rng.choice(
        (f"(in {unit.scale}s)", f"{unit.sign} {unit.scale}s", f"In {unit.scale}s of {_NAMES[unit.sign]}")
    )
    groups = {lines[0].of: "Income:", lines[-3].of: "Outlays:"} if rng.random() < 0.5 else {}  # noqa: PLR2004
    heads = [["", *("Year ended December 31," if place == 0 else "" for place in range(count))]]
    grid = [*(heads if rng.random() < 0.5 else []), [corner, *(str(years[place]) for place in order)]]  # noqa: PLR2004
    grid += _body(lines, unit, order, groups=groups)
    columns = tuple(Column(str(year), f"in {year}", year) for year in years)
    return Sheet(grid, _prose(rng, sector, columns), columns, tuple(lines), unit.sign, unit.scale, unit.decimals)


def with_changes(rng: random.Random, sector: str) -> Sheet:
    """Two years with the change between them beside, in amount and percent."""
    unit, last = money(rng), rng.randint(2011, 2023)
    lines = lines_of(rng, sector, unit, 2)
    grid = [
        [f"(Amounts in {unit.scale}s)", "Fiscal Year", "", "Change", ""],
        ["", f"{last}", f"{last - 1}", unit.sign, "%"],
    ]
    for line in lines:
        old, new = line.values
        percent = f"{(new - old) / old * 100:.1f}" if old else "n/m"
        percent = f"({percent[1:]})" if percent.startswith("-") else percent
        grid.append([line.label, shown(new, unit), shown(old, unit), shown(new - old, unit), f"{percent}%"])
    columns = tuple(Column(str(year), f"in fiscal {year}", year) for year in (last - 1, last))
    return Sheet(grid, _prose(rng, sector, columns), columns, tuple(lines), unit.sign, unit.scale, unit.decimals)


def segments(rng: random.Random, sector: str) -> Sheet:
    """Regions across, without a period but that of the caption; a column of totals."""
    unit, year = money(rng), rng.randint(2011, 2023)
    regions = rng.sample(("Americas", "Nordics", "Iberia", "Asia-Pacific", "Central Europe"), 3)
    lines = [
        Line(line.label, (*line.values, sum(line.values, Decimal(0))), line.kind, line.of)
        for line in lines_of(rng, sector, unit, len(regions))
    ]
    heads = [*regions, "Group"]
    grid = [[f"{unit.sign} {unit.scale}", *heads], *_body(lines, unit, range(len(heads)), groups={})]
    columns = tuple(Column(head, f"in {head}" if head != "Group" else "for the Group") for head in heads)
    text = [f"The table shows segment figures for the year ended 31 December {year}, in {unit.scale}s."]
    return Sheet(grid, text, columns, tuple(lines), unit.sign, unit.scale, unit.decimals)


def restated(rng: random.Random, sector: str) -> Sheet:
    """One date, as reported and without a new standard."""
    unit, year = money(rng), rng.randint(2011, 2023)
    lines = lines_of(rng, sector, unit, 2)
    heads = ("As reported", "Adjustments", "Balances without adoption of the new standard")
    grid = [[f"(in {unit.scale}s)", *heads]]
    for line in lines:
        one, two = line.values
        grid.append([line.label, shown(one, unit), shown(two - one, unit), shown(two, unit)])
    columns = (Column(heads[0], "as reported"), Column(heads[2], "without adoption of the new standard"))
    text = [f"The impact of adoption on the statement of {year} is as follows."]
    return Sheet(grid, text, columns, tuple(lines), unit.sign, unit.scale, unit.decimals)


def quarters(rng: random.Random, sector: str) -> Sheet:
    """The same quarter of two years and the half-years, under nested headers."""
    unit, last = money(rng), rng.randint(2011, 2023)
    lines = lines_of(rng, sector, unit, 4)
    end = rng.choice(("June 30", "September 30"))
    grid = [
        ["", f"Three Months Ended {end},", "", f"Nine Months Ended {end},", ""],
        [f"(In {unit.scale}s)", str(last), str(last - 1), str(last), str(last - 1)],
        *_body(lines, unit, (1, 0, 3, 2), groups={}),
    ]
    columns = tuple(Column(f"{year}", f"in the three months ended {end}, {year}", year) for year in (last - 1, last))
    short = tuple(Line(line.label, line.values[:2], line.kind, line.of) for line in lines)
    return Sheet(grid, _prose(rng, sector, columns), columns, short, unit.sign, unit.scale, unit.decimals)


def periods_down(rng: random.Random, sector: str) -> Sheet:
    """Years as rows, the things as columns."""
    unit, last = money(rng), rng.randint(2011, 2023)
    lines = lines_of(rng, sector, unit, 3)[: rng.choice((4, 5))]
    years = [last - 2, last - 1, last]
    grid = [["Year", *(f"{line.label} ({unit.sign}{_SHORT[unit.scale]})" for line in lines)]]
    grid += [[str(years[place]), *(shown(line.values[place], unit) for line in lines)] for place in (2, 1, 0)]
    columns = tuple(Column(str(year), f"in {year}", year) for year in years)
    return Sheet(grid, _prose(rng, sector, columns), columns, tuple(lines), unit.sign, unit.scale, unit.decimals)


def obligations(rng: random.Random, sector: str) -> Sheet:
    """Payments by when they are due."""
    unit, year = money(rng), rng.randint(2011, 2023)
    names = rng.sample(("Charters", "Bonds", "Equipment leases", "Pension contributions", f"{sector} commitments"), 4)
    heads = ("Total", "Less than 1 year", "1-3 years", "3-5 years", "More than 5 years")
    lines = []
    for name in names:
        values = tuple(amount(rng, unit) for _ in heads[1:])
        lines.append(Line(name, (sum(values, Decimal(0)), *values), of="Total"))
    totals = tuple(sum(column, Decimal(0)) for column in zip(*(one.values for one in lines), strict=True))
    lines.append(Line("Total", totals, "total"))
    grid = [
        ["", "Payments due by period", "", "", "", ""],
        [f"(in {unit.scale}s)", *heads],
        *_body(lines, unit, range(5), groups={}),
    ]
    asked = ("in total", "in less than 1 year", "in 1-3 years", "in 3-5 years", "in more than 5 years")
    columns = tuple(Column(head, f"due {name}") for head, name in zip(heads, asked, strict=True))
    text = [f"The following table summarises our contractual obligations as of December 31, {year}."]
    return Sheet(grid, text, columns[1:], _without_first(lines), unit.sign, unit.scale, unit.decimals)


def units_in_cells(rng: random.Random, sector: str) -> Sheet:
    """Each cell with its sign and scale, footnotes behind labels."""
    last = rng.randint(2011, 2023)
    unit = Money(rng.choice("$€£"), rng.choice(("million", "billion")), rng.choice((1, 2)))
    lines = lines_of(rng, sector, unit, 2)
    letter = {"million": "m", "billion": "bn"}[unit.scale]
    grid = [["", f"FY{last}", f"FY{last - 1}"]]
    for index, line in enumerate(lines):
        cells = [f"{'-' if line.values[at] < 0 else ''}{unit.sign}{abs(line.values[at]):,}{letter}" for at in (1, 0)]
        grid.append([f"{line.label} ({index + 1})" if index in {1, 2} else line.label, *cells])
    columns = tuple(Column(f"FY{year}", f"in fiscal {year}", year) for year in (last - 1, last))
    return Sheet(grid, _prose(rng, sector, columns), columns, tuple(lines), unit.sign, unit.scale, unit.decimals)


def rates(rng: random.Random, sector: str) -> Sheet:
    """Percentages only: margins and shares by year."""
    last = rng.randint(2011, 2023)
    names = [f"{name} margin" for half in (1, 3) for name in SECTORS[sector][half].split("|")][:5]
    unit = Money("", "percent", 1)
    lines = [
        Line(name, tuple(round(Decimal(str(rng.uniform(2, 60))), 1) for _ in range(2)), "single") for name in names
    ]
    grid = [["Margins (%)", str(last), str(last - 1)]]
    grid += [[line.label, *(f"{line.values[at]}%" for at in (1, 0))] for line in lines]
    columns = tuple(Column(str(year), f"in {year}", year) for year in (last - 1, last))
    return Sheet(grid, [], columns, tuple(lines), "", unit.scale, 1)


def _without_first(lines: Sequence[Line]) -> tuple[Line, ...]:
    return tuple(Line(line.label, line.values[1:], line.kind, line.of) for line in lines)


def _prose(rng: random.Random, sector: str, columns: Sequence[Column]) -> list[str]:
    """Sentences with other numbers beside the table."""
    year = columns[-1].time
    return [
        f"Our {sector} business is seasonal. We employed {rng.randint(1200, 98000):,} people at the end of {year}.",
        f"The effective tax rate was {rng.uniform(11, 34):.1f}% in {year}, compared with {rng.uniform(11, 34):.1f}% "
        f"in {year - 1}.",
    ]


_NAMES = {"$": "U.S. dollars", "€": "euros", "£": "pounds sterling"}
_SHORT = {"thousand": "'000", "million": "m", "billion": "bn"}

Style = Callable[[random.Random, str], Sheet]
LOOKED_AT: dict[str, Style] = {"annual": annual, "changes": with_changes, "segments": segments, "restated": restated}
NOT_LOOKED_AT: dict[str, Style] = {
    "annual": annual, "quarters": quarters, "periods down": periods_down, "obligations": obligations,
    "units in cells": units_in_cells, "rates": rates,
}  # fmt: skip
