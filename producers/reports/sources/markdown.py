"""Markdown as blocks: headings, paragraphs and tables; HTML inside it is left out."""

from markdown_it import MarkdownIt
from markdown_it.token import Token

from pelton.producers.reports.sources.document import DocumentBuilder


def read_markdown(text: str, builder: DocumentBuilder) -> None:
    """Raises `SourceUnusable` past the limits."""
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}).enable("table")
    rows: list[list[str]] = []
    context = ""
    within: list[str] = []
    for token in parser.parse(text):
        if token.nesting == 1:
            within.append(token.type)
        elif token.nesting == -1 and within:
            within.pop()
        if token.type == "table_open":
            rows = []
        elif token.type == "tr_open":
            rows.append([])
        elif token.type == "table_close":
            builder.table(rows, context, context)
        elif token.type == "inline":
            context = _place(token, within, rows, builder) or context
        elif token.type in {"fence", "code_block"}:
            builder.paragraph(token.content)


def _place(token: Token, within: list[str], rows: list[list[str]], builder: DocumentBuilder) -> str:
    """Put a line of text where it belongs; return it where it may be the caption of a table that follows."""
    text = "".join(child.content if child.type != "softbreak" else " " for child in token.children or ())
    kind = within[-1] if within else ""
    if kind in {"th_open", "td_open"}:
        rows[-1].append(text)
        return ""
    if kind == "heading_open":
        builder.heading(text)
    else:
        builder.paragraph(text)
    return text
