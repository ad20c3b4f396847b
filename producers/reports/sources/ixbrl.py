"""Reads the numbers that an iXBRL filing tags: their exact value, unit and period, whatever the page shows.

A tag says more than its text: `scale` and `sign` make the value, `unitRef` and `contextRef` name unit and period.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from lxml import etree

from pelton.producers.reports.figures.by_reference.formatting import written
from pelton.producers.reports.figures.lexing.digits import read_digits
from pelton.producers.reports.figures.quantity import PER_SHARE, PERCENT, PLAIN, SCALE_WORDS, Quantity

_IX = ("http://www.xbrl.org/2013/inlineXBRL", "http://www.xbrl.org/2008/inlineXBRL")
_XBRLI = "{http://www.xbrl.org/2003/instance}"
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_LARGEST_SCALE = 18


@dataclass(frozen=True, slots=True)
class TaggedNumber:
    """A tagged number. `concept` is the tag's name in words, `members` what it is restricted to (a segment)."""

    concept: str
    members: str
    period: str
    quantity: Quantity


def tagged_numbers(document: str | bytes) -> tuple[TaggedNumber, ...]:
    """Every `ix:nonFraction` of a filing in its order; those that are nil or no number are left out.

    Raises:
        ValueError: the document is no XML at all.

    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, recover=True, huge_tree=False)
    content = document.encode() if isinstance(document, str) else document
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise ValueError(f"not an iXBRL document: {error}") from None
    if root is None:
        raise ValueError("not an iXBRL document: it holds no element")
    contexts = {str(node.get("id")): _context(node) for node in root.iter(f"{_XBRLI}context")}
    units = {str(node.get("id")): _unit(node) for node in root.iter(f"{_XBRLI}unit")}
    return tuple(_numbers(root, contexts, units))


def tagged_rows(numbers: Sequence[TaggedNumber]) -> list[list[str]]:
    """The numbers as a grid, a row for each concept and a column for each period, as `parse_table` reads it."""
    periods = list(dict.fromkeys(number.period for number in numbers))
    rows: dict[str, dict[str, str]] = {}
    for number in numbers:
        label = f"{number.concept} ({number.members})" if number.members else number.concept
        rows.setdefault(label, {}).setdefault(number.period, written(number.quantity))
    return [["", *periods], *([label, *(cells.get(period, "") for period in periods)] for label, cells in rows.items())]


def _numbers(
    root: etree._Element, contexts: dict[str, tuple[str, str]], units: dict[str, str]
) -> Iterator[TaggedNumber]:
    for namespace in _IX:
        for node in root.iter(f"{{{namespace}}}nonFraction"):
            period, members = contexts.get(str(node.get("contextRef")), ("", ""))
            quantity = _quantity(node, units.get(str(node.get("unitRef")), PLAIN))
            if quantity is not None:
                yield TaggedNumber(_in_words(str(node.get("name", ""))), members, period, quantity)


def _quantity(node: etree._Element, unit: str) -> Quantity | None:
    text = "".join(str(part) for part in node.itertext()).strip()
    kind = str(node.get("format", "")).rpartition(":")[2].replace("-", "")
    if node.get(_NIL) == "true":
        return None
    if "comma" in kind:
        text = text.replace(".", "").replace(",", ".")
    read = (Decimal(0), 0) if "zero" in kind or "nil" in kind else read_digits(text)
    try:
        scale = int(str(node.get("scale", "0")) or "0")
    except ValueError:
        return None
    if read is None or not read[0].is_finite() or abs(scale) > _LARGEST_SCALE:
        return None
    value = -read[0] if node.get("sign") == "-" else read[0]
    if unit == PLAIN and scale == -2:  # noqa: PLR2004  # hundredths of a pure number
        return Quantity(value, 0, PERCENT, read[1], scale_known=True)
    return _scaled(value, scale, unit, read[1])


def _scaled(value: Decimal, scale: int, unit: str, decimals: int) -> Quantity | None:
    if scale in SCALE_WORDS:
        return Quantity(value, scale, unit, decimals, scale_known=True)
    try:
        return Quantity(value.scaleb(scale), 0, unit, max(decimals - scale, 0), scale_known=True)
    except InvalidOperation:
        return None


def _context(node: etree._Element) -> tuple[str, str]:
    """Period and members: an instant's date, or the first and the last day of a duration."""
    days = {part: node.findtext(f".//{_XBRLI}{part}") or "" for part in ("instant", "startDate", "endDate")}
    members = [
        _in_words((child.text or "").strip()) for child in node.iter() if str(child.tag).endswith("explicitMember")
    ]
    if days["instant"]:
        return days["instant"].strip(), ", ".join(members)
    return " to ".join(day.strip() for day in days.values() if day), ", ".join(members)


def _unit(node: etree._Element) -> str:
    measures = [(measure.text or "").strip() for measure in node.iter(f"{_XBRLI}measure")]
    names = [measure.rpartition(":")[2] for measure in measures]
    currency = next((name for measure, name in zip(measures, names, strict=True) if "4217" in measure), "")
    if currency:
        return currency + PER_SHARE if "shares" in names else currency
    return "shares" if names == ["shares"] else PLAIN


def _in_words(name: str) -> str:
    """A tag's name as a label: `us-gaap:NetIncomeLoss` becomes "Net income loss"."""
    words: list[str] = []
    for letter in name.rpartition(":")[2].removesuffix("Member"):
        if letter.isupper() and words and not words[-1][-1:].isupper():
            words.append(letter)
        elif words:
            words[-1] += letter
        else:
            words.append(letter)
    return " ".join(words).capitalize()
