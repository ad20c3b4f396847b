"""Invented records in the form of TAT-QA's: two halves without a sector in common, and hardly a shape or wording.

The check is developed on one half. Of the other only the counts are looked at, so that it estimates what the check
does with reports that it has never met.
"""

import random
from collections.abc import Callable
from typing import Any

from benchmarks.figures import synthetic_lists as lists
from benchmarks.figures import synthetic_sheets as sheets
from benchmarks.figures import synthetic_wordings as wordings
from benchmarks.figures.synthetic_model import Sheet
from benchmarks.figures.synthetic_prose import told
from benchmarks.figures.synthetic_questions import questions_of

LOOKED_AT, NOT_LOOKED_AT = "looked-at", "not-looked-at"

_SECTORS = {
    LOOKED_AT: ("airline", "software", "retail", "mining"),
    NOT_LOOKED_AT: ("bank", "pharma", "utility", "insurer"),
}
Style = Callable[[random.Random, str], Sheet]
_STYLES: dict[str, dict[str, Style]] = {
    LOOKED_AT: {
        "annual": sheets.annual, "changes": sheets.with_changes, "segments": sheets.segments,
        "restated": sheets.restated, "roster": lists.roster, "awards": lists.awards,
    },
    NOT_LOOKED_AT: {
        "annual": sheets.annual, "quarters": sheets.quarters, "periods down": sheets.periods_down,
        "obligations": sheets.obligations, "units in cells": sheets.units_in_cells, "rates": sheets.rates,
        "roster": lists.roster, "awards": lists.awards, "portfolio": lists.portfolio,
    },
}  # fmt: skip
_WORDINGS = {LOOKED_AT: wordings.LOOKED_AT, NOT_LOOKED_AT: wordings.NOT_LOOKED_AT}


def records(half: str, count: int, seed: int) -> list[dict[str, Any]]:
    """`count` records of a half; the same for the same seed."""
    rng = random.Random(f"{seed} {half}")
    return [_record(rng, half, number) for number in range(count)]


def _record(rng: random.Random, half: str, number: int) -> dict[str, Any]:
    sector = rng.choice(_SECTORS[half])
    style = rng.choice(list(_STYLES[half]))
    sheet = _STYLES[half][style](rng, sector)
    year = max(column.time for column in sheet.columns) or rng.randint(2011, 2023)
    text, about_it = told(rng, year, looked_at=half == LOOKED_AT)
    return {
        "uid": f"{half}-{number}-{style}",
        "table": sheet.grid,
        "paragraphs": [*sheet.paragraphs, text],
        "questions": [*questions_of(rng, sheet, _WORDINGS[half]), *about_it],
    }
