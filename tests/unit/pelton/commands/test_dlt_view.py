"""The list of dead letters at any width: where each lies and why, whole, folded where there is little room."""

import io

import pytest
from rich.console import Console

from pelton.commands.dlt import view
from pelton.pipeline.wire.records import Source
from pelton.producers.dead_letters.letters import DeadLetter, LetterPosition

MESSAGE = (
    "The prompt has 9,000 tokens and asks for 512 more, but the model's context holds 8,192: shorten the messages."
)


def letter() -> DeadLetter:
    return DeadLetter(
        place=LetterPosition(11, 1_234_567), timestamp_ms=1_764_318_000_000, origin=Source("requests", 3, 41),
        origin_timestamp_ms=None, code="context_length_exceeded", message=MESSAGE, attempts=1, correlation_id=b"x",
        tenant=None, key=None, value=b"{}", headers=(), truncated=False,
    )  # fmt: skip


@pytest.mark.parametrize("width", [30, 50, 80, 120, 200])
def test_reason_and_place_are_there_at_any_width(width: int) -> None:
    """Nothing is cut: neither at 80 columns nor at 50."""
    out = io.StringIO()
    console = Console(file=out, width=width)
    console.print(view.listing("requests-dlt", [view.row(letter(), None)], width))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    shown = "".join("".join(lines).split())
    assert "11:1234567" in shown
    assert "…" not in shown
    if width < view.TABLE_WIDTH:  # where a column of its own does not cut the words up
        assert "".join(MESSAGE.split()) in shown
    else:
        assert all(word in shown for word in ("9,000", "tokens", "shorten"))
