"""Figures: tables with addressed cells, references that code computes, and a check of what a text claims.

Pure logic: no Kafka, no files, no network. See `parse_table`, `prompt_view`, `reference_grammar`, `render` and `check`.
"""

from pelton.producers.reports.figures.model import (
    DERIVED,
    SUPPORTED,
    UNSUPPORTED,
    Cell,
    Figure,
    Problem,
    Rendered,
    Source,
    Table,
    Verdict,
)
from pelton.producers.reports.figures.quantity import Quantity

__all__ = [
    "DERIVED",
    "SUPPORTED",
    "UNSUPPORTED",
    "Cell",
    "Figure",
    "Problem",
    "Quantity",
    "Rendered",
    "Source",
    "Table",
    "Verdict",
]
