"""What figures are made from and what they become: tables and cells, rendered figures, verdicts."""

from dataclasses import dataclass
from functools import cached_property

from pelton.producers.reports.figures.quantity import Quantity


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Args:
        id: `T1.r3.c2`; rows and columns are counted from one over the whole grid, headers included.
        text: the cell as it stands in the source.
        label: the row's header, with the group header above it where there is one.
        period: what the column's header says of time: `2019`, `Q1 2019`, `March 31, 2019`; else empty.
        quantity: the parsed number; None for headers, words, dashes and empty cells.

    """

    id: str
    row: int
    column: int
    text: str
    label: str = ""
    heading: str = ""
    period: str = ""
    quantity: Quantity | None = None


@dataclass(frozen=True)
class Table:
    """A parsed table. `cells` holds every non-empty cell in reading order.

    Args:
        id: `T1`.
        caption: what stands above it, or the title of a document part.
        headings: the text above each column, joined over the header rows (empty for the label column).

    """

    id: str
    caption: str
    cells: tuple[Cell, ...]
    headings: tuple[str, ...]

    @cached_property
    def numeric(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.cells if cell.quantity is not None)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a figure comes from: a cell (`id` `T1.r3.c2`) or a sentence (`id` `P2`), quoted."""

    id: str
    quote: str
    label: str = ""
    period: str = ""

    def __str__(self) -> str:
        about = ", ".join(part for part in (self.label, self.period) if part)
        return f"{self.id} ({about}): {self.quote}" if about else f"{self.id}: {self.quote}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A reference as it was rendered into text.

    Args:
        text: what stands in the text from `start` to `end` (offsets in characters).
        operation: `value`, `sum`, `diff`, `pct`, `ratio`, `avg` or `share`.
        formula: the calculation over the sources' own numbers; empty for a plain value.
        sources: never empty.

    """

    text: str
    start: int
    end: int
    reference: str
    operation: str
    label: str
    period: str
    formula: str
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """What could not be rendered, or was written beside the rules.

    `kind`: `syntax`, `unknown_cell`, `not_a_number`, `unknown_operation`, `arity`, `mixed_units`, `arithmetic`,
    `division_by_zero`, `sign_change` and `negative_base` (percent changes that mean nothing), `digits` (a number in
    the prose), `direction` (the words say rise, the figure fell).
    """

    kind: str
    text: str
    start: int
    end: int
    detail: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """Text with its references replaced; every figure has its sources, every other problem is listed."""

    text: str
    figures: tuple[Figure, ...]
    problems: tuple[Problem, ...]


SUPPORTED = "supported"
DERIVED = "derived"
UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the check found for one number of a text.

    Args:
        verdict: `supported` (`source` quotes where), `derived` (`formula` shows how) or `unsupported`.
        reason: why a number is unsupported, for a person or for a prompt that asks for a better text.

    """

    text: str
    start: int
    end: int
    verdict: str
    source: str = ""
    formula: str = ""
    reason: str = ""
