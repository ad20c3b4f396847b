"""What a session keeps: every history survives its bytes, and bytes that are none are told from an empty one."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.cache.sessions.history import History, Turn
from pelton.cache.value_format import Damaged
from pelton.pipeline.wire.chat import Message, TextPart

ROLES = ("system", "developer", "user", "assistant")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def answer(text: str, logprobs: object = None) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "logprobs": logprobs}
    return orjson.dumps({"choices": [choice], "usage": {"total_tokens": 7}})


def messages(*roles: str) -> st.SearchStrategy[tuple[Message, ...]]:
    one = st.builds(lambda role, text: Message(role=role, content=text), st.sampled_from(roles), TEXT)
    return st.lists(one, max_size=3).map(tuple)


TURNS = st.builds(Turn, TEXT, messages("user", "assistant"), TEXT.map(answer))
HISTORIES = st.builds(History, messages("system", "developer"), st.lists(TURNS, max_size=5).map(tuple))


@settings(deadline=None)
@given(HISTORIES)
def test_a_history_survives_its_bytes(history):
    """System messages, turns, their order and their answers come back as they were."""
    assert History.from_json(history.to_json()) == history


def test_a_message_in_parts_is_kept_as_its_text():
    """What a model reads is the text; how the sender divided it is not kept."""
    parts = Message(role="user", content=[TextPart(type="text", text="a"), TextPart(type="text", text="b")])
    kept = History.from_json(History(turns=(Turn("r", (parts,), answer("c")),)).to_json())
    assert kept.turns[0].messages == (Message(role="user", content="ab"),)


def test_a_turn_is_found_by_its_record():
    """The stored answer is the one of the very record, and of no other."""
    history = History(turns=(Turn("a", (), answer("1")), Turn("b", (), answer("2"))))
    assert history.turn("b") == history.turns[1]
    assert history.turn("c") is None


def test_a_model_reads_question_and_answer():
    """A turn is said as it was: the request's messages, then what was answered."""
    turn = Turn("a", (Message(role="user", content="How?"),), answer("So."))
    assert [(message.role, message.text) for message in turn.spoken] == [("user", "How?"), ("assistant", "So.")]


def test_an_older_turn_loses_its_log_probabilities_and_nothing_else():
    """They are many times the size of the words, and only the turn's own reply needed them."""
    slim = Turn("a", (), answer("yes", {"content": [{"token": "yes", "logprob": -0.1}]})).slim()
    assert slim == Turn("a", (), answer("yes"))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"system": [], "turns": [["r", []]]}',
        b'{"system": [], "turns": [[1, [], {"choices": []}]]}',
        b'{"system": [], "turns": [["r", [], {"choices": []}]]}',
        b'{"system": [], "turns": [["r", [], {"choices": [{"message": {"content": null}}]}]]}',
        b'{"system": [], "turns": [["r", [], {"choices": [{"message": null}]}]]}',
        b'{"system": [["king", "x"]], "turns": []}',
    ],
)
def test_what_is_no_history_is_damaged(value):
    """JSON of another shape is never taken for a shorter history."""
    with pytest.raises(Damaged, match="no history"):
        History.from_json(value)
