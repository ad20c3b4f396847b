"""Replaces the references of a text by the figures that they compute, each with its sources."""

import re
from collections.abc import Sequence

from pelton.producers.reports.figures.by_reference.formatting import written
from pelton.producers.reports.figures.by_reference.operations import DIFFERENCE, PERCENT_CHANGE, VALUE, Impossible
from pelton.producers.reports.figures.by_reference.references import Resolved, Resolver, references
from pelton.producers.reports.figures.lexing.lexer import scan
from pelton.producers.reports.figures.model import Figure, Problem, Rendered, Table

NOT_AVAILABLE = "[figure not available]"
_LOOK_BACK = 48
_NEAR = r"(?:\s(?:by|of|about|approximately|nearly|some|a|an|was|is|total|net))*\s*$"
_FALL = re.compile(
    rf"\b(?:fell|falls?|falling|decreas\w+|declin\w+|dropp?\w*|down|reduc\w+|lower|shr[aiu]nk\w*|contracted|slipped|lost){_NEAR}",
    re.IGNORECASE,
)
_RISE = re.compile(
    rf"\b(?:rose|rises?|rising|risen|increas\w+|gr[eo]w\w*|up|gain\w*|improv\w+|higher|climbed|expanded|added){_NEAR}",
    re.IGNORECASE,
)
_LOSS = re.compile(rf"\b(?:loss(?:es)?|deficit|outflows?|shortfall){_NEAR}", re.IGNORECASE)
_STRAY_BRACKETS = re.compile(r"\[\[|\]\]")
_DIGIT_RUN = re.compile(r"\d+")


def render(text: str, tables: Sequence[Table]) -> Rendered:
    """The text with every reference replaced. Never raises on what the text holds.

    A reference that cannot be computed becomes `[figure not available]`, which is followed by a problem.
    Numbers in the prose are kept and listed as problems of kind `digits`: they have no source.
    """
    resolver = Resolver(tables)
    pieces = _Pieces()
    position = 0
    for match in references(text):
        pieces.prose(text[position : match.start()])
        position = match.end()
        try:
            pieces.figure(match.group(), resolver.resolve(match.group(1)))
        except Impossible as impossible:
            pieces.problem(impossible.kind, NOT_AVAILABLE, f"{match.group()[:120]}: {impossible.detail}")
        except ArithmeticError:
            pieces.problem("arithmetic", NOT_AVAILABLE, f"{match.group()[:120]}: the result is out of range")
    pieces.prose(text[position:])
    return pieces.rendered()


class _Pieces:
    """The growing text, its length, and what was found in it."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._tail = ""
        self._figures: list[Figure] = []
        self._problems: list[Problem] = []

    def _add(self, text: str) -> int:
        start = self._length
        self._parts.append(text)
        self._length += len(text)
        self._tail = (self._tail + text)[-_LOOK_BACK:]
        return start

    def prose(self, text: str) -> None:
        start = self._add(text)
        for stray in _STRAY_BRACKETS.finditer(text):
            self._note(
                "syntax", start, stray.start(), stray.end(), text, "a reference that is not closed or not opened"
            )
        for begin, end in _numbers(text):
            self._note("digits", start, begin, end, text, "a number in the prose has no source")

    def _note(self, kind: str, base: int, begin: int, end: int, text: str, detail: str) -> None:  # noqa: PLR0913, PLR0917  # a problem's fields
        self._problems.append(Problem(kind, text[begin:end], base + begin, base + end, detail))

    def problem(self, kind: str, text: str, detail: str) -> None:
        start = self._add(text)
        self._problems.append(Problem(kind, text, start, start + len(text), detail))

    def figure(self, reference: str, resolved: Resolved) -> None:
        tail = self._tail
        text, contradiction = _worded(resolved, tail)
        start = self._add(text)
        cells = resolved.cells
        self._figures.append(
            Figure(
                text,
                start,
                start + len(text),
                reference,
                resolved.operation,
                "; ".join(dict.fromkeys(cell.label for cell in cells if cell.label)),
                "; ".join(dict.fromkeys(cell.period for cell in cells if cell.period)),
                resolved.computed.formula if resolved.computed else "",
                resolved.sources,
            )
        )
        if contradiction:
            self._problems.append(Problem("direction", text, start, start + len(text), contradiction))

    def rendered(self) -> Rendered:
        return Rendered("".join(self._parts), tuple(self._figures), tuple(self._problems))


def _worded(resolved: Resolved, before: str) -> tuple[str, str]:
    """The figure's text, without its sign where the words before it say the way, and what contradicts them."""
    if resolved.computed is None:
        return resolved.text, ""
    quantity = resolved.computed.quantity
    if resolved.operation in {DIFFERENCE, PERCENT_CHANGE}:
        falls, rises = _FALL.search(before), _RISE.search(before)
        if falls and quantity.value > 0:
            return resolved.text, f"the words say that it fell, and it rose: {resolved.computed.formula}"
        if rises and quantity.value < 0:
            return resolved.text, f"the words say that it rose, and it fell: {resolved.computed.formula}"
        return written(quantity, magnitude=bool(falls)), ""
    if resolved.operation == VALUE and quantity.value < 0 and (_LOSS.search(before) or _FALL.search(before)):
        return written(quantity, magnitude=True), ""
    return resolved.text, ""


def _numbers(text: str) -> list[tuple[int, int]]:
    """Where digits or number words stand, in one span for each number or date."""
    found = scan(text)
    spans = sorted(
        {(number.start, number.end) for number in found.numbers}
        | {
            (mention.start, mention.end)
            for mention in found.periods
            if _DIGIT_RUN.search(text, mention.start, mention.end)
        }
    )
    covered = bytearray(len(text))
    for start, end in spans:
        covered[start:end] = b"\1" * (end - start)
    uncovered = "".join(" " if covered[place] else character for place, character in enumerate(text))
    return sorted(spans + [match.span() for match in _DIGIT_RUN.finditer(uncovered)])
