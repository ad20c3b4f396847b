"""A request in its session: what the model reads, what is dropped when it gets too long, and what is kept after."""

from typing import Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.cache.sessions.conversation import Conversation, fewest_dropped
from pelton.cache.sessions.history import History, Turn
from pelton.pipeline.wire.chat import Message


def user(text: str) -> Message:
    return Message(role="user", content=text)


def system(text: str, role: Literal["system", "developer"] = "system") -> Message:
    return Message(role=role, content=text)


def answer(text: str) -> bytes:
    return orjson.dumps({"choices": [{"message": {"content": text}, "logprobs": None}], "usage": {}})


def turn(number: int) -> Turn:
    return Turn(f"t-0-{number}", (user(f"q{number}"),), answer(f"a{number}"))


def texts(conversation: Conversation) -> list[str]:
    return [message.text for message in conversation.messages]


def test_a_conversation_is_system_then_turns_then_what_is_new():
    """A follow-up is read after everything that was said before it."""
    conversation = Conversation.of(History((system("s"),), (turn(1), turn(2))), [user("q3")])
    assert texts(conversation) == ["s", "q1", "a1", "q2", "a2", "q3"]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_later_system_message_takes_the_place_of_the_first(role):
    """Instructions are said once, at the beginning, wherever in the request they stood; the last ones given count."""
    first = Conversation.of(History(), [system("old"), user("q1")]).answered("t-0-1", answer("a1"))
    unchanged = Conversation.of(first, [user("q2")])
    assert texts(unchanged) == ["old", "q1", "a1", "q2"]
    changed = Conversation.of(first, [user("q2"), system("new", role)])
    assert texts(changed) == ["new", "q1", "a1", "q2"]
    kept = changed.answered("t-0-2", answer("a2"))
    assert texts(Conversation.of(kept, [user("q3")])) == ["new", "q1", "a1", "q2", "a2", "q3"]


def test_what_the_model_did_not_read_is_not_kept():
    """Dropped turns are forgotten with the answer that was given without them; the system message never is."""
    history = History((system("s"),), (turn(1), turn(2), turn(3)))
    kept = Conversation.of(history, [user("q4")]).without_oldest(2).answered("t-0-4", answer("a4"))
    assert kept == History((system("s"),), (turn(3), turn(4)))


def test_only_the_newest_turn_keeps_its_log_probabilities():
    """Its reply may have to be sent again; an older one's never, and they are long."""
    told = orjson.dumps({"choices": [{"message": {"content": "a"}, "logprobs": {"content": []}}], "usage": {}})
    history = Conversation.of(History(), [user("q1")]).answered("t-0-1", told)
    assert history.turns[0].answer == told
    assert Conversation.of(history, [user("q2")]).answered("t-0-2", told).turns == (
        Turn("t-0-1", (user("q1"),), answer("a")),
        Turn("t-0-2", (user("q2"),), told),
    )


@given(st.integers(0, 300), st.integers(0, 301))
def test_no_more_is_dropped_than_must_be_and_few_are_tried(turns, needed):
    """The least number that fits, or all; a conversation that fits takes one trial, one over by a turn two."""
    tried = []

    def fits(dropped: int) -> bool:
        tried.append(dropped)
        return dropped >= needed

    assert fewest_dropped(turns, fits) == min(needed, turns)
    assert len(tried) == len(set(tried))
    assert all(0 <= dropped < turns for dropped in tried)
    assert len(tried) <= 2 * max(turns, 1).bit_length()
    if needed <= 1:
        assert len(tried) <= needed + 1


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(0, 600), st.integers(0, 60))
def test_whole_turns_go_the_oldest_first(sizes, budget, fixed):
    """What is kept is a run of the newest turns that fits, and one more would not."""
    dropped = fewest_dropped(len(sizes), lambda count: fixed + sum(sizes[count:]) <= budget)
    if dropped < len(sizes):
        assert fixed + sum(sizes[dropped:]) <= budget
    if dropped:
        assert fixed + sum(sizes[dropped - 1 :]) > budget
