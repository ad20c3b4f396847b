"""Pieces of an answer joined are the answer; none splits a character as readers see it or tells of a stop string."""

import random

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.pipeline.wire.chat import ChatRequest
from pelton.workers.prepare.simulated_codec import SimulatedCodec
from pelton.workers.streaming.stable_text import StableText
from tests.dice import DICE

ALPHABET = [
    "a", "B", " ", "\n", "é", "e\u0301", "n\u0303\u0323", "ß", "日", "한", "ก็", "नि", "👍", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈",
    "🇩🇪", "🇫🇷", "\u200d", "\u0301", "\ufe0f", "STOP", "ST", "END", "\n\n", "##", "�",
]  # fmt: skip
STOPS = ["STOP", "\n\n", "###", "END🇩🇪", "é", "e\u0301", "👩‍👩", "aSa"]
CODEC = SimulatedCodec()


def tokens_of(text: str, dice: random.Random) -> list[int]:
    """As a byte-level tokenizer might cut it: tokens begin and end within characters."""
    data, tokens = text.encode(), []
    while data:
        size = dice.randint(1, 4)
        tokens.append(int.from_bytes(b"\x01" + data[:size]))
        data = data[size:]
    return tokens


def request(stop: list[str]) -> ChatRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **({"stop": stop} if stop else {})}
    return ChatRequest.model_validate(body)


def streamed(tokens: list[int], asked: ChatRequest, at_once: int) -> list[str]:
    """What is told of an answer that grows so many tokens at a time, until the engine would end it."""
    text, pieces = StableText(asked.stop_strings), []
    for end in range(1, len(tokens), at_once):
        pieces += [text.advance(CODEC.content(tokens[:end], asked, [], complete=False))]
    pieces.append(text.finish(CODEC.content(tokens, asked, [], complete=True)))
    return [piece for piece in pieces if piece]


@settings(max_examples=1_000, deadline=None)
@given(
    st.lists(st.sampled_from(ALPHABET) | st.characters(exclude_categories=["Cs"]), max_size=40),
    st.lists(st.sampled_from(STOPS), max_size=3, unique=True),
    st.integers(1, 5),
    DICE,
)
def test_pieces_joined_are_the_committed_text(
    parts: list[str], stop: list[str], at_once: int, dice: random.Random
) -> None:
    """For any answer, cut into tokens in any way, with any stop strings."""
    tokens, asked = tokens_of("".join(parts), dice), request(stop)
    committed = CODEC.parse(tokens, asked, []).message.content
    pieces = streamed(tokens, asked, at_once)
    assert "".join(pieces) == committed
    assert not any(string in committed for string in stop)
    clusters = {match.start() for match in regex.finditer(r"\X", committed)} | {len(committed)}
    ends = {sum(map(len, pieces[: index + 1])) for index in range(len(pieces))}
    assert ends <= clusters


@pytest.mark.parametrize(
    ("so_far", "stop", "told"),
    [
        ("Hello wor", [], "Hello wo"),
        ("Hello\ufffd", [], "Hell"),
        ("family 👩‍👩", [], "family "),
        ("so ##", ["###"], "so "),
        ("so #\ufffd", ["#é"], "so "),
        ("so #x", ["###"], "so #"),
        ("STO", ["STOP", "O"], ""),
        ("", ["x"], ""),
    ],
)
def test_what_is_held_back(so_far: str, stop: list[str], told: str) -> None:
    """The last character as readers see it, and what a stop string may begin with."""
    assert StableText(stop).advance(so_far) == told


def test_text_that_changes_behind_is_told_no_further() -> None:
    """The committed reply has it right, and its readers see that it differs."""
    text = StableText()
    assert text.advance("one two three") == "one two thre"
    assert text.advance("one too three four") == ""
    assert text.finish("one too three four") == ""
