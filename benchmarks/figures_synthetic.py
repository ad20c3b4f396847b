"""Invented records in the form of TAT-QA's: two halves without a sector in common, and hardly a shape or wording.

The check is developed on one half only. Of the other nobody looks at more than the counts, so that it estimates what the check
does with reports that it has never met.
"""

import random
from typing import Any

from benchmarks import figures_synthetic_questions as asking
from benchmarks import figures_synthetic_sheets as sheets

HALVES = ("looked-at", "not-looked-at")
_SECTORS = {
    "looked-at": ("airline", "software", "retail", "mining"),
    "not-looked-at": ("bank", "pharma", "utility", "insurer"),
}
_STYLES = {"looked-at": sheets.LOOKED_AT, "not-looked-at": sheets.NOT_LOOKED_AT}
_WORDINGS = {"looked-at": asking.LOOKED_AT, "not-looked-at": asking.NOT_LOOKED_AT}


def records(half: str, count: int, seed: int) -> list[dict[str, Any]]:
    """`count` records of a half; the same for the same seed."""
    rng = random.Random(f"{seed} {half}")
    return [_record(rng, half, number) for number in range(count)]


def _record(rng: random.Random, half: str, number: int) -> dict[str, Any]:
    sector = rng.choice(_SECTORS[half])
    name = rng.choice(list(_STYLES[half]))
    sheet = _STYLES[half][name](rng, sector)
    questions = list(asking.questions_of(rng, sheet, _WORDINGS[half]))
    year = max(column.time for column in sheet.columns) or rng.randint(2011, 2023)
    text, about_it = asking.told(rng, year, looked_at=half == "looked-at")
    return {
        "uid": f"{half}-{number}",
        "style": name,
        "table": sheet.grid,
        "paragraphs": [*sheet.paragraphs, text],
        "questions": questions + about_it,
    }
