"""Text from outside, made safe: nothing in it moves a cursor, begins a line or fills a screen."""

from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.outside_text import escaped, shown

ANY = st.text(st.characters(codec=None), max_size=200)
"""Lone surrogates too."""


@given(ANY, st.integers(min_value=2, max_value=50))
def test_what_is_shown_is_one_short_printable_line(text: str, most: int) -> None:
    """Whatever comes in; an escape is ten characters at most."""
    line = shown(text, most)
    assert line.replace("\u200c", "").replace("\u200d", "").isprintable()
    assert len(line) <= 10 * most
    line.encode()


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=200))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert escaped(text) == text
    assert shown(text) == text


def test_terminal_sequences_are_spelled_out() -> None:
    """OSC 52 (writes the clipboard), CSI, 8-bit CSI, a title, a bell, backspaces, and bidirectional overrides."""
    hostile = "\x1b]52;c;Zm9v\x07 \x1b[2J \x9b31m \x08\x7f\r \u202e\u2066 \u2028"
    safe = escaped(hostile, lines=True)
    assert safe == r"\x1b]52;c;Zm9v\x07 \x1b[2J \x9b31m \x08\x7f\r \u202e\u2066 \u2028"


def test_lines_stay_where_they_are_wanted() -> None:
    """An answer has paragraphs and emoji of several characters; a log line has one line."""
    text = "a\n\tb 👩\u200d🔬"
    assert escaped(text, lines=True) == text
    assert escaped(text) == "a\\n\\tb 👩\u200d🔬"


def test_of_a_long_text_both_ends_are_shown() -> None:
    assert shown("a" * 10_000 + "the end", 20) == "aaaaaaaaaa…aathe end"
