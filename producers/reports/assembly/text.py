"""A section's text as HTML. What a model wrote is not trusted: no HTML, links or images of its own get through.

Marks (figures, findings) go through Markdown as private characters, which are taken out of the text before.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

_OPEN, _MIDDLE, _CLOSE = "\ue000", "\ue001", "\ue002"
_PRIVATE = re.compile("[\ue000-\uf8ff\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e\u2066-\u2069]")
_MARK = re.compile(f"{_OPEN}([0-9]+){_MIDDLE}([^{_OPEN}{_MIDDLE}{_CLOSE}]*){_CLOSE}")
_TAGS = {"p", "br", "em", "strong", "ul", "ol", "li", "code", "pre", "blockquote", "h4", "h5", "h6", "table", "thead"}
_TAGS |= {"tbody", "tr", "th", "td", "hr"}

_MARKDOWN = MarkdownIt("zero", {"html": False, "linkify": False, "maxNesting": 20, "breaks": True}).enable(
    ["emphasis", "list", "heading", "table", "backticks", "fence", "blockquote", "newline", "escape", "entity"]
)


@dataclass(frozen=True, slots=True)
class Mark:
    """Characters `start` to `end` of a text become a button that opens the element `target`."""

    start: int
    end: int
    target: str
    kind: str
    """`figure`, or a verdict of the check."""


def to_html(text: str, marks: Sequence[Mark] = ()) -> Markup:
    """Safe HTML. Marks that overlap an earlier one, or lie outside, are left out."""
    kept = _in_order(marks, len(text))
    rendered = _MARKDOWN.render(_with_marks(text, kept))
    rendered = re.sub(r"<(/?)h[1-3]>", r"<\1h4>", rendered)
    clean = nh3.clean(rendered, tags=_TAGS, attributes={}, url_schemes=set())

    def button(found: re.Match[str]) -> str:
        mark = kept[int(found[1])]
        return f'<button type="button" class="mark {mark.kind}" popovertarget="{mark.target}">{found[2]}</button>'

    return Markup(_PRIVATE.sub("", _MARK.sub(button, clean)))  # noqa: S704  # cleaned, and marks are our own


def plain(text: str) -> str:
    """Without private and control characters."""
    return _PRIVATE.sub(" ", text)


def _in_order(marks: Sequence[Mark], length: int) -> list[Mark]:
    kept: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: mark.start):
        if 0 <= mark.start < mark.end <= length and (not kept or kept[-1].end <= mark.start):
            kept.append(mark)
    return kept


def _with_marks(text: str, marks: Sequence[Mark]) -> str:
    pieces: list[str] = []
    at = 0
    for number, mark in enumerate(marks):
        inside = plain(text[mark.start : mark.end]).replace("\n", " ")
        pieces += [plain(text[at : mark.start]), f"{_OPEN}{number}{_MIDDLE}{inside}{_CLOSE}"]
        at = mark.end
    return "".join([*pieces, plain(text[at:])])
