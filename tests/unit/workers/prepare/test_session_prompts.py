"""From a session's request to its draft: the history in front, shortened by whole turns until there is room."""

from typing import cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.cache.sessions.history import History, Turn
from pelton.pipeline.wire.chat import Message
from pelton.workers.prepare.cache_keys import CacheKeyBuilder
from pelton.workers.prepare.limits import RequestLimits
from pelton.workers.prepare.prepare import make_jobs
from pelton.workers.prepare.session_prompts import SessionPrompts
from pelton.workers.prepare.simulated_codec import SimulatedCodec
from tests.unit._support.turns import answer, delivery, user

LIMITS = RequestLimits(
    "tiny", context_length=200, budget_tokens=180, default_max_new_tokens=40, max_request_bytes=10_000
)
KEYRING = CacheKeyBuilder(True, "tiny", b"", 40, 180, False)


class CountingCodec(SimulatedCodec):
    """Counts the calls to the tokenizer and the texts it was given."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def encode(self, texts: list[str]) -> list[list[int]]:
        self.calls.append(len(texts))
        return super().encode(texts)


def session_prompts(most_context: int | None = None) -> SessionPrompts:
    return SessionPrompts(CountingCodec(), LIMITS, KEYRING, most_context)


def asks(text: str, offset: int = 99, **fields: object):
    body = {"model": "default", "messages": [{"role": "user", "content": text}], **fields}
    return delivery(offset, body=orjson.dumps(body))


def history(*words: str, system: str | None = None) -> History:
    turns = tuple(Turn(f"r-{n}", (user(word),), answer(word.upper())) for n, word in enumerate(words))
    return History(() if system is None else (Message(role="system", content=system),), turns)


def test_what_was_said_stands_before_what_is_new():
    """The prompt is the whole conversation, tokenised once; keys are made of it."""
    it = session_prompts()
    (draft,), refused = it.make_drafts([(asks("c", temperature=0), history("a", "b", system="s"))])
    assert refused == []
    assert draft.text == "system: s\nuser: a\nassistant: A\nuser: b\nassistant: B\nuser: c"
    assert draft.keys.answer is not None
    (job,), _ = make_jobs([draft], it.codec, LIMITS)
    assert job.prompt == SimulatedCodec().encode([draft.text])[0]
    assert cast(CountingCodec, it.codec).calls == [1]


def test_a_batch_is_tokenised_in_one_call_and_a_bad_body_is_refused_alone():
    """Many sessions that fit cost one call of the tokenizer; one sender's mistake is nobody else's."""
    it = session_prompts()
    opened = [(asks(str(n), n) if n % 3 else delivery(n, body=b"{"), history("a")) for n in range(6)]
    drafts, refused = it.make_drafts(opened)
    assert [draft.delivery for draft in drafts] == [one for one, _ in opened if one.record.source.offset % 3]
    assert [refusal.error.code for refusal in refused] == ["invalid_json", "invalid_json"]
    assert cast(CountingCodec, it.codec).calls == [4]


@given(
    st.lists(st.text("ab ", max_size=120), max_size=12),
    st.none() | st.integers(1, 150),
    st.none() | st.integers(1, 150),
)
def test_the_oldest_turns_go_until_it_fits_and_not_one_more(words, asked, most_context):
    """The prompt leaves room for the new tokens; system and new messages stay; one turn more would be too many."""
    it = session_prompts(most_context)
    whole = history(*words, system="s")
    (draft,), _ = it.make_drafts([(asks("new", max_completion_tokens=asked), whole)])
    kept = draft.conversation.history.turns
    assert kept == whole.turns[len(whole.turns) - len(kept) :]
    assert draft.text.startswith("system: s\n")
    assert draft.text.endswith("user: new")
    assert draft.prompt == SimulatedCodec().encode([draft.text])[0]
    room = it.room(asked)
    if kept:
        assert len(draft.prompt) <= room
    if len(kept) < len(whole.turns):
        one_more = draft.conversation.messages
        longer = whole.turns[len(whole.turns) - len(kept) - 1].spoken
        text = it.codec.render([*one_more[:1], *longer, *one_more[1:]])
        assert len(it.codec.encode([text])[0]) > room


@pytest.mark.parametrize(
    ("asked", "most_context", "room"),
    [(None, None, 140), (10, None, 170), (179, None, 1), (None, 100, 100), (150, 100, 30), (None, 500, 140)],
)
def test_the_room_is_what_new_tokens_and_the_setting_leave(asked, most_context, room):
    """Never more than the setting, nor than the model holds beside the answer."""
    assert session_prompts(most_context).room(asked) == room


def test_a_small_model_keeps_half_of_itself_for_an_answer_of_no_given_length():
    """A default as large as the context must not cost a session its history."""
    limits = RequestLimits(
        "tiny", context_length=60, budget_tokens=60, default_max_new_tokens=500, max_request_bytes=10_000
    )
    assert SessionPrompts(SimulatedCodec(), limits, KEYRING, None).room(None) == 30


def test_a_request_too_long_by_itself_is_judged_like_any_other():
    """The setting bounds the history, not what the sender says now; the model's context bounds both."""
    it = session_prompts(most_context=10)
    long = asks("x" * 400)
    (draft,), _ = it.make_drafts([(long, history("a"))])
    assert draft.conversation.history.turns == ()
    jobs, _ = make_jobs([draft], it.codec, LIMITS)
    assert len(jobs) == 1
    (too_long,), _ = it.make_drafts([(asks("x" * 4_000), history("a"))])
    _, (refused,) = make_jobs([too_long], it.codec, LIMITS)
    assert refused.error.code == "context_length_exceeded"
