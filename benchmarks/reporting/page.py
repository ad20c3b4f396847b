"""One HTML file that needs no other: headings, words, tables and plots."""

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from jinja2 import Environment
from markupsafe import Markup

_FIGURE = re.compile(r"[+-]?[\d.,]+ ?\S{0,3}")

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title><style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1f; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #d5d5dc; padding: .3rem .8rem; text-align: left; vertical-align: top; }
.figure { text-align: right; }
pre { background: #f5f5f8; padding: .8rem; overflow-x: auto; font-size: 13px; line-height: 1.25; }
svg { max-width: 100%; height: auto; } .where { color: #5c5c66; }
</style></head><body>
<h1>{{ title }}</h1><p class="where">{{ where }}</p>
{% for part in parts %}<h2>{{ part.heading }}</h2>
{% for paragraph in part.paragraphs %}<p>{{ paragraph }}</p>{% endfor %}
{% if part.columns %}<table>
<tr>{% for name in part.columns %}<th class="{{ part.kinds[loop.index0] }}">{{ name }}</th>{% endfor %}</tr>
{% for row in part.rows %}
<tr>{% for cell in row %}<td class="{{ part.kinds[loop.index0] }}">{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>{% endif %}
{% for figure in part.figures %}<figure>{{ figure.markup }}<figcaption>{{ figure.note }}</figcaption></figure>
{% endfor %}
{% if part.output %}<pre>{{ part.output }}</pre>{% endif %}
{% endfor %}</body></html>
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """`svg` is written into the page as it is; empty where there is none, as `note` then says."""

    title: str
    svg: str
    note: str = ""

    @property
    def markup(self) -> Markup:
        return Markup(self.svg)  # noqa: S704  # drawn here, by matplotlib, which escapes its texts


@dataclass(frozen=True, slots=True)
class Part:
    """One heading and what stands below it; `output` is what a command printed."""

    heading: str
    paragraphs: Sequence[str] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    figures: Sequence[Figure] = ()
    output: str = ""

    @property
    def kinds(self) -> list[str]:
        """Of each column: `figure` where most of its cells are, which stand at its right, or else `words`."""
        cells = ([row[number] for row in self.rows if row[number]] for number in range(len(self.columns)))
        return ["figure" if 2 * sum(map(_is_figure, column)) > len(column) else "words" for column in cells]


def _is_figure(cell: str) -> bool:
    return _FIGURE.fullmatch(cell) is not None


def paragraphs(docstring: str | None) -> list[str]:
    """What a benchmark's docstring says of it: without its first line, its command, and what it prints."""
    return [" ".join(paragraph.split()) for paragraph in (docstring or "").split("\n\n")[2:-1]]


def page(title: str, parts: Sequence[Part]) -> str:
    return Environment(autoescape=True).from_string(_PAGE).render(title=title, where=this_machine(), parts=parts)


def write_page(path: Path, title: str, parts: Sequence[Part]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(title, parts))


def this_machine() -> str:
    """What a reader has to know of the machine that the figures are from."""
    gib = psutil.virtual_memory().total / 2**30
    cores = len(os.sched_getaffinity(0))
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{cores} cores ({_processor()}), {gib:.0f} GiB of memory, Python {platform.python_version()}, {when}"


def _processor() -> str:
    try:
        known = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    except OSError:
        return platform.processor()
    named = {name.strip(): value.strip() for name, value in known.items()}
    return named.get("model name", platform.machine())
