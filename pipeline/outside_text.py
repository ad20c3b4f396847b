"""Text from outside (requests, replies, headers, names in Redis, errors that quote them) made safe to show.

A terminal obeys control characters, a log is read line by line, and both can be flooded. What is shown has none of the
first, stays on its line, and is no longer than a reader reads.
"""

MAX_SHOWN_CHARS = 500
_LINES = frozenset("\n\t")
_JOINERS = frozenset("\u200c\u200d")
"""Zero-width (non-)joiners: invisible, but parts of emoji and of some scripts' spelling."""


def shown(text: str, most: int = MAX_SHOWN_CHARS) -> str:
    """One line for a log or a message: what is not printable is escaped, of a long text both ends are kept."""
    half = most // 2
    short = text if len(text) <= most else f"{text[:half]}…{text[len(text) - half + 1 :]}"
    return escaped(short)


def escaped(text: str, *, lines: bool = False) -> str:
    r"""All of it, with control, format and unassigned characters as `\x1b`; with `lines` line ends and tabs stay."""
    if text.isprintable():
        return text
    kept = _LINES | _JOINERS if lines else _JOINERS
    return "".join(char if char.isprintable() or char in kept else _escape(char) for char in text)


def _escape(char: str) -> str:
    return repr(char)[1:-1]
