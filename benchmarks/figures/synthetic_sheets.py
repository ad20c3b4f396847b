"""Invented tables of a sector's revenue and costs, in the shapes that reports have."""

import random
from collections.abc import Sequence
from decimal import Decimal

from benchmarks.figures.synthetic_model import (
    CURRENCY_NAMES,
    SECTORS,
    SHORT_SCALES,
    Column,
    Line,
    Money,
    Sheet,
    amount,
    body,
    lines_of,
    money,
    prose,
    shown,
)


def annual(rng: random.Random, sector: str) -> Sheet:
    """Years across, the newest first, under the scale in the corner."""
    unit, last = money(rng), rng.randint(2011, 2023)
    count = rng.choice((2, 3, 3))
    lines = lines_of(rng, sector, unit, count)
    years = [last - count + 1 + place for place in range(count)]
    order = list(reversed(range(count)))
    corner = rng.choice(
        (f"(in {unit.scale}s)", f"{unit.sign} {unit.scale}s", f"In {unit.scale}s of {CURRENCY_NAMES[unit.sign]}")
    )
    groups = {lines[0].of: "Income:", lines[-3].of: "Outlays:"} if rng.random() < 0.5 else {}
    heads = [["", *("Year ended December 31," if place == 0 else "" for place in range(count))]]
    grid = [*(heads if rng.random() < 0.5 else []), [corner, *(str(years[place]) for place in order)]]
    grid += body(lines, unit, order, groups=groups)
    columns = tuple(Column(str(year), f"in {year}", year) for year in years)
    return Sheet(grid, prose(rng, sector, columns), columns, tuple(lines), unit.sign, unit.scale, unit.decimals)


def with_changes(rng: random.Random, sector: str) -> Sheet:
    """Two years with the change between them beside, in amount and percent."""
    unit, last = money(rng), rng.randint(2011, 2023)
    lines = lines_of(rng, sector, unit, 2)
    grid = [
        [f"(Amounts in {unit.scale}s of {CURRENCY_NAMES[unit.sign]})", "Fiscal Year", "", "Change", ""],
        ["", f"{last}", f"{last - 1}", unit.sign, "%"],
    ]
    for line in lines:
        old, new = line.values
        percent = f"{(new - old) / old * 100:.1f}" if old else "n/m"
        percent = f"({percent[1:]})" if percent.startswith("-") else percent
        grid.append([line.label, shown(new, unit), shown(old, unit), shown(new - old, unit), f"{percent}%"])
    columns = tuple(Column(str(year), f"in fiscal {year}", year) for year in (last - 1, last))
    return Sheet(grid, prose(rng, sector, columns), columns, tuple(lines), unit.sign, unit.scale, unit.decimals)


def segments(rng: random.Random, sector: str) -> Sheet:
    """Regions across, without a period but that of the caption; a column of totals."""
    unit, year = money(rng), rng.randint(2011, 2023)
    regions = rng.sample(("Americas", "Nordics", "Iberia", "Asia-Pacific", "Central Europe"), 3)
    lines = [
        Line(line.label, (*line.values, sum(line.values, Decimal(0))), line.kind, line.of)
        for line in lines_of(rng, sector, unit, len(regions))
    ]
    heads = [*regions, "Group"]
    grid = [[f"{unit.sign} {unit.scale}", *heads], *body(lines, unit, range(len(heads)), groups={})]
    columns = tuple(Column(head, f"in {head}" if head != "Group" else "for the Group") for head in heads)
    text = [f"The table shows segment figures for the year ended 31 December {year}, in {unit.scale}s."]
    return Sheet(grid, text, columns, tuple(lines), unit.sign, unit.scale, unit.decimals)


def restated(rng: random.Random, sector: str) -> Sheet:
    """One date, as reported and without a new standard."""
    unit, year = money(rng), rng.randint(2011, 2023)
    lines = lines_of(rng, sector, unit, 2)
    heads = ("As reported", "Adjustments", "Balances without adoption of the new standard")
    grid = [[f"({unit.sign} in {unit.scale}s)", *heads]]
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
        *body(lines, unit, (1, 0, 3, 2), groups={}),
    ]
    columns = tuple(Column(f"{year}", f"in the three months ended {end}, {year}", year) for year in (last - 1, last))
    short = tuple(Line(line.label, line.values[:2], line.kind, line.of) for line in lines)
    return Sheet(grid, prose(rng, sector, columns), columns, short, unit.sign, unit.scale, unit.decimals)


def periods_down(rng: random.Random, sector: str) -> Sheet:
    """Years as rows, the things as columns."""
    unit, last = money(rng), rng.randint(2011, 2023)
    lines = lines_of(rng, sector, unit, 3)[: rng.choice((4, 5))]
    years = [last - 2, last - 1, last]
    grid = [["Year", *(f"{line.label} ({unit.sign}{SHORT_SCALES[unit.scale]})" for line in lines)]]
    grid += [[str(years[place]), *(shown(line.values[place], unit) for line in lines)] for place in (2, 1, 0)]
    columns = tuple(Column(str(year), f"in {year}", year) for year in years)
    return Sheet(grid, prose(rng, sector, columns), columns, tuple(lines), unit.sign, unit.scale, unit.decimals)


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
        *body(lines, unit, range(5), groups={}),
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
    return Sheet(grid, prose(rng, sector, columns), columns, tuple(lines), unit.sign, unit.scale, unit.decimals)


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
