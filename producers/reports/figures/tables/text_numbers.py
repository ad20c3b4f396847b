"""The numbers of prose as a table, so that a text source can be referred to as tables are."""

import re
from collections.abc import Iterator

from pelton.producers.reports.figures.lexing.lexer import scan
from pelton.producers.reports.figures.model import Cell, Table

_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+(?=[A-Z\"“(])")
_ABBREVIATION = re.compile(r"\b(?:U\.S|No|Inc|Corp|Ltd|Co|vs|approx|Mr|Ms|Dr|St|e\.g|i\.e)\.$")

_LONGEST = 1500


def sentences(text: str) -> list[tuple[int, int]]:
    """Start and end of each sentence."""
    ends = [
        match.start()
        for match in _SENTENCE_END.finditer(text)
        if not _ABBREVIATION.search(text[max(0, match.start() - 8) : match.start()])
    ]
    starts = [0, *ends]
    whole = zip(starts, [*ends, len(text)], strict=True)
    return [piece for start, end in whole for piece in _pieces(text, start, end) if text[piece[0] : piece[1]].strip()]


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A sentence, or parts of one that has no end, cut at spaces: work on a sentence may be quadratic in its length."""
    while end - start > _LONGEST:
        space = text.rfind(" ", start + 1, start + _LONGEST)
        cut = space if space > start else start + _LONGEST
        yield start, cut
        start = cut
    yield start, end


def parse_text(text: str, id: str = "P1") -> Table:  # noqa: A002  # its name in every reference
    """A table with one row a sentence and one column a number; the sentence is the label."""
    cells = []
    for row, (start, end) in enumerate(sentences(text), start=1):
        sentence = " ".join(text[start:end].split())
        found = scan(sentence)
        years = [sentence[mention.start : mention.end] for mention in found.periods]
        cells += [
            Cell(
                f"{id}.r{row}.c{column}",
                row,
                column,
                number.text,
                sentence,
                "",
                years[0] if len(years) == 1 else "",
                number.quantity,
            )
            for column, number in enumerate(found.amounts, start=1)
        ]
    width = max((cell.column for cell in cells), default=0)
    return Table(id, "", tuple(cells), ("",) * width)
