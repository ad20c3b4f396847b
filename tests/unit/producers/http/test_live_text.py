"""Whatever comes of partial text, in whichever order: what a client reads is the beginning of the committed answer."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.producers.http.live_text import LiveText
from pelton.producers.kafka.delta_reader import Delta, read_delta


def pieces(text: str, cuts: list[int], attempt: int = 1) -> list[Delta]:
    ends = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    return [Delta(attempt, start, text[start:end], "m") for start, end in itertools.pairwise(ends)]


@given(st.text(max_size=60), st.lists(st.integers(0, 60)), st.integers(0, 9))
def test_pieces_and_the_rest_are_the_answer(text: str, cuts: list[int], lost: int) -> None:
    """Also where some are lost, and all behind them are."""
    live = LiveText()
    sent = "".join(live.piece(each) for index, each in enumerate(pieces(text, cuts)) if index != lost)
    assert text.startswith(sent)
    rest = live.rest(text)
    assert rest is not None
    assert sent + rest == text


@given(st.text(max_size=30), st.text(max_size=30), st.lists(st.integers(0, 30)), st.data())
def test_a_second_attempt_goes_on_where_it_says_the_same(
    one: str, other: str, cuts: list[int], data: st.DataObject
) -> None:
    """A worker dies in the middle: what was passed on is not said twice, nor anything that does not follow it."""
    first, second = pieces(one, cuts), pieces(other, cuts, attempt=2)
    live = LiveText()
    sent = "".join(live.piece(each) for each in first[: data.draw(st.integers(0, len(first)))])
    sent += "".join(live.piece(each) for each in second)
    rest = live.rest(other)
    if rest is None:
        assert not other.startswith(sent)
    else:
        assert sent + rest == other


def test_a_piece_that_comes_twice_is_passed_on_once() -> None:
    """As a producer that sends again may have it."""
    live = LiveText()
    assert [live.piece(Delta(1, 0, "one ", "m")), live.piece(Delta(1, 0, "one ", "m"))] == ["one ", ""]


@pytest.mark.parametrize(
    "value", [None, b"", b"{", b"[]", b"7", b'{"attempt":1}', b'{"attempt":"1","at":0,"content":"","model":""}']
)
def test_what_no_worker_has_written_is_passed_over(value: bytes | None) -> None:
    """Anybody may write to a topic."""
    assert read_delta(value) is None
