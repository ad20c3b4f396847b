"""Invented tables that are lists: people, awards of shares, parts without a total."""

import random
from decimal import Decimal

from benchmarks.figures.synthetic_model import (
    SECTORS,
    SHORT_SCALES,
    Column,
    Line,
    Sheet,
    amount,
    body,
    money,
    moved,
    prose,
)

_PEOPLE = ("Ada Lund", "Bruno Keller", "Chiara Moretti", "Dawit Tesfaye", "Emi Sato", "Farid Haddad", "Greta Olsen")


def roster(rng: random.Random, sector: str) -> Sheet:
    """People with their ages, and nothing that adds up."""
    year = rng.randint(2011, 2023)
    people = rng.sample(_PEOPLE, rng.randint(4, 7))
    ages = [Decimal(rng.randint(38, 71)) for _ in people]
    grid = [["Name", "Age", "Position"]]
    grid += [[name, str(age), f"Director, {sector}"] for name, age in zip(people, ages, strict=True)]
    lines = tuple(Line(name, (age,), "single") for name, age in zip(people, ages, strict=True))
    column = Column("Age", f"as of {year}")
    text = [f"The executive officers of the company as of March 1, {year} are listed in the table."]
    return Sheet(grid, text, (column,), lines, "", "", 0)


def awards(rng: random.Random, sector: str) -> Sheet:
    """Numbers of awards and the price of each, after what became of them."""
    year = rng.randint(2011, 2023)
    names = (
        f"Outstanding at January 1, {year}",
        "Granted",
        "Vested",
        "Forfeited",
        f"Outstanding at December 31, {year}",
    )
    counts = [Decimal(rng.randint(900, 90000)) for _ in range(4)]
    counts.append(counts[0] + counts[1] - counts[2] - counts[3])
    prices = [round(Decimal(str(rng.uniform(4, 90))), 2) for _ in names]
    grid = [["", "Number of shares", "Weighted-average price ($)"]]
    rows = list(zip(names, counts, prices, strict=True))
    grid += [[name, f"{count:,}", f"{price}"] for name, count, price in rows]
    lines = tuple(Line(name, (count, price), "single") for name, count, price in rows)
    columns = (Column("Number of shares", "shares"), Column("Weighted-average price", "price"))
    return Sheet(grid, [f"Awards to employees of the {sector} division in {year}."], columns, lines, "$", "", 2)


def portfolio(rng: random.Random, sector: str) -> Sheet:
    """Parts at two year-ends without a total, in a list with one heading each."""
    unit, last = money(rng), rng.randint(2011, 2023)
    names = SECTORS[sector][1].split("|")
    lines = [Line(name, moved(rng, amount(rng, unit), unit, 2), of="the portfolio") for name in names]
    grid = [["Portfolio", f"Dec. 31, {last}", f"Dec. 31, {last - 1}"], [unit.sign + SHORT_SCALES[unit.scale], "", ""]]
    grid += body(lines, unit, (1, 0), groups={})
    columns = tuple(Column(str(year), f"at December 31, {year}", year) for year in (last - 1, last))
    return Sheet(grid, prose(rng, sector, columns), columns, tuple(lines), unit.sign, unit.scale, unit.decimals)
