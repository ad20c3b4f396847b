"""Figures: tables with addressed cells, references that code computes, and a check of what a text claims.

Pure logic: no Kafka, no files, no network. See `parse_table`, `prompt_view`, `reference_grammar`, `render` and `check`.
"""

from pelton.producers.reports.figures.by_reference.grammar import reference_grammar, reference_regex
from pelton.producers.reports.figures.by_reference.prompt import prompt_view
from pelton.producers.reports.figures.by_reference.references import REFERENCE_HELP
from pelton.producers.reports.figures.by_reference.render import render
from pelton.producers.reports.figures.checking.check import Checker, check, check_record
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
from pelton.producers.reports.figures.tables.parse import parse_table
from pelton.producers.reports.figures.tables.text_numbers import parse_text

__all__ = [
    "DERIVED",
    "REFERENCE_HELP",
    "SUPPORTED",
    "UNSUPPORTED",
    "Cell",
    "Checker",
    "Figure",
    "Problem",
    "Quantity",
    "Rendered",
    "Source",
    "Table",
    "Verdict",
    "check",
    "check_record",
    "parse_table",
    "parse_text",
    "prompt_view",
    "reference_grammar",
    "reference_regex",
    "render",
]
