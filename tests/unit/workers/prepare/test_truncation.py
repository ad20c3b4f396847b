"""Prompts that are too long: what is cut fits, what is not cut is unchanged, and what was cut is said."""

import re
from dataclasses import replace
from typing import Any

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.errors import ContextLengthExceeded
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.settings.cache import CacheSettings
from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.contract import CacheOutcome, TruncationPolicy
from pelton.workers.delivery.reply_counts import ReplyCounts
from pelton.workers.delivery.reply_records import WorkerIdentity, answer_record
from pelton.workers.fairness.backlog import BacklogMeter
from pelton.workers.prepare.cache_keys import CacheKeyBuilder
from pelton.workers.prepare.limits import RequestLimits
from pelton.workers.prepare.prepare import make_drafts, make_jobs
from pelton.workers.prepare.simulated_codec import SimulatedCodec
from pelton.workers.prepare.truncation import MARKER, Fitted, fitted
from pelton.workers.requests import CacheHit, CacheKeys, OutgoingReply, Truncation
from tests.unit._support.turns import delivery

CODEC = SimulatedCodec()
MOST = 100
LIMITS = RequestLimits("m", MOST, MOST, 20, 1_000_000)
MARK = re.compile(re.escape(MARKER).replace(re.escape("{:,}"), "([0-9,]+)"))
CHARACTERS = st.sampled_from(["a", "b ", "é", "e\u0301", "👩‍👩‍👧‍👦", "\n", "日"])
TEXT = st.builds(
    lambda some, times: "".join(some) * times, st.lists(CHARACTERS, min_size=3, max_size=20), st.integers(1, 12)
)
MESSAGES = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXT), min_size=1, max_size=8).map(
    lambda turns: [{"role": role, "content": text} for role, text in turns]
)


def request(messages: Any, **fields: Any) -> ChatRequest:
    return ChatRequest.model_validate({"model": "m", "messages": messages, **fields})


def fit(asked: ChatRequest, policy: str, limits: RequestLimits = LIMITS) -> Fitted:
    return fitted(asked, CODEC.render(asked.messages, asked), CODEC, limits, TruncationPolicy(policy))


def tokens(made: Fitted) -> int:
    return len(CODEC.encode([made.text])[0])


@given(MESSAGES, st.sampled_from(list(TruncationPolicy)), st.sampled_from([None, 1, 30]))
def test_what_is_cut_fits_and_what_is_not_is_unchanged(messages, policy, asked):
    """Whatever came, the request is as it was, or fits and says by how much it was cut."""
    whole = request(messages, max_tokens=asked)
    made = fit(whole, policy)
    before = len(CODEC.encode([CODEC.render(whole.messages, whole)])[0])
    if made.truncation is None:
        assert made.request is whole
        return
    assert before + (asked or 1) > MOST
    assert tokens(made) <= LIMITS.prompt_room(asked)
    assert made.truncation == Truncation(policy, before - tokens(made))
    assert made.prompt == CODEC.encode([made.text])[0]
    assert made.text == CODEC.render(made.request.messages, made.request)
    (check_turns if policy == "oldest_turns" else check_middle)(whole.messages, made.request.messages)


def check_turns(before: Any, after: Any) -> None:
    """System messages and all from the last user's message on are there, in their order; what goes is the oldest."""
    last = max((at for at, message in enumerate(before) if message.role == "user"), default=0)
    assert [one for one in after if one.role == "system"] == [one for one in before if one.role == "system"]
    spoken = [one for one in before if one.role != "system"]
    kept = [one for one in after if one.role != "system"]
    assert kept == spoken[len(spoken) - len(kept) :]
    assert all(any(one is other for other in after) for one in before[last:])


def check_middle(before: Any, after: Any) -> None:
    """One text of a user, the longest, has a mark between its own beginning and end, each of whole characters."""
    (at,) = [at for at, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
    whole = before[at].text
    assert before[at].role == "user"
    assert len(whole) == max(len(one.text) for one in before if one.role == "user")
    found = MARK.search(after[at].text)
    assert found is not None
    begin, end = after[at].text[: found.start()], after[at].text[found.end() :]
    assert whole.startswith(begin)
    assert whole.endswith(end)
    assert len(begin) + len(end) + int(found[1].replace(",", "")) == len(whole)
    characters = regex.findall(r"\X", whole)
    starts = {len("".join(characters[:number])) for number in range(len(characters) + 1)}
    assert {len(begin), len(whole) - len(end)} <= starts


@pytest.mark.parametrize("character", ["👩‍👩‍👧‍👦", "e\u0301", "🇩🇪"], ids=["family", "accent", "flag"])
def test_no_character_is_split(character):
    """Not even one of eleven code points, however many bytes there is room for."""
    for spare in range(12):
        whole = request([{"role": "user", "content": "." * spare + character * 300}])
        check_middle(whole.messages, fit(whole, "middle").request.messages)


def test_little_more_than_needed_is_cut():
    """A long text keeps nearly all that there is room for."""
    made = fit(
        request([{"role": "user", "content": "word " * 2_000}]),
        "middle",
        replace(LIMITS, context_length=1_000, budget_tokens=1_000),
    )
    assert 0.95 * 980 <= tokens(made) <= 980


def test_turns_go_as_a_whole_and_no_more_than_needed():
    """A call goes with its result, and what still fits stays."""
    old = [{"role": "user", "content": "x" * 200}, {"role": "assistant", "content": "y" * 60}]
    new = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    made = fit(request([{"role": "system", "content": "s"}, *old, *new], max_tokens=50), "oldest_turns")
    assert [message.text for message in made.request.messages] == ["s", "a", "b", "c"]


def test_a_part_of_a_message_is_cut_alone():
    parts = [{"type": "text", "text": "short"}, {"type": "text", "text": "long " * 200}]
    made = fit(request([{"role": "user", "content": parts}]), "middle")
    content = made.request.messages[0].content
    assert isinstance(content, list)
    first, second = content
    assert first.text == "short"
    assert "left out" in second.text


@pytest.mark.parametrize(
    ("messages", "policy"),
    [
        ([{"role": "user", "content": "x" * 999}], "refuse"),
        ([{"role": "user", "content": "x" * 999}], "oldest_turns"),
        ([{"role": "system", "content": "x" * 999}, {"role": "user", "content": "a"}], "middle"),
        ([{"role": "assistant", "content": "x" * 999}], "middle"),
    ],
    ids=["refuse", "last", "system", "nobody"],
)
def test_what_cannot_be_cut_is_refused_as_it_was(messages, policy):
    """With the error of a prompt that is too long, which counts all of it."""
    drafts, _ = make_drafts([sent(messages, policy)], CODEC, LIMITS, KEYS)
    _, (failed,) = make_jobs(drafts, CODEC, LIMITS)
    assert isinstance(failed.error, ContextLengthExceeded)


KEYS = CacheKeyBuilder.of(CacheSettings(), "m", b"", LIMITS)


def sent(messages: Any, policy: str | None, **fields: Any) -> Any:
    plain = delivery(1, "")
    body = request(messages, **fields).model_dump_json(exclude_none=True).encode()
    wish = None if policy is None else TruncationPolicy(policy)
    return replace(plain, record=replace(plain.record, value=body), envelope=replace(plain.envelope, truncation=wish))


def test_the_cache_knows_what_is_really_asked():
    """A cut request has the key of its own text, whoever cut it; the setting counts where a request says nothing."""
    long = [{"role": "user", "content": "x" * 999}]
    turns = [
        {"role": "user", "content": "old " * 99},
        {"role": "assistant", "content": "."},
        {"role": "user", "content": "a"},
    ]

    def key(messages: Any, policy: str | None, limits: RequestLimits = LIMITS) -> str | None:
        ((draft,), _) = make_drafts([sent(messages, policy, temperature=0)], CODEC, limits, KEYS)
        return draft.keys.answer

    by_setting = replace(LIMITS, truncation=TruncationPolicy.MIDDLE)
    assert len({key(long, "middle"), key(long, "refuse"), key(turns, "oldest_turns"), key(turns, "middle")}) == 4
    assert key(long, None, by_setting) == key(long, "middle")
    assert key(long, "refuse", by_setting) == key(long, None)
    assert key(turns, "oldest_turns") == key(turns[2:], None)


def test_what_was_cut_is_said_and_counted():
    """In a header of each reply, also of one that comes from the cache or is shared."""
    ((draft,), _) = make_drafts([sent([{"role": "user", "content": "x" * 999}], "middle")], CODEC, LIMITS, KEYS)
    ((job,), _) = make_jobs([draft], CODEC, LIMITS)
    assert job.truncation is not None
    assert job.truncation == draft.truncation
    hit = CacheHit(job.delivery, CacheKeys(), b"{}", CacheOutcome.JOINED, truncation=job.truncation)
    headers = dict(answer_record(hit, b"{}", WorkerIdentity("m", "w")).headers)
    assert headers["pelton-truncated"] == f"middle;tokens={job.truncation.tokens}".encode()
    metrics = Metrics()
    counts: Any = ReplyCounts(metrics, NoCache(), BacklogMeter())  # type: ignore[arg-type]  # counts nothing else
    counts.note([OutgoingReply(hit, ())])
    value = metrics.registry.get_sample_value
    assert value("pelton_requests_truncated_total", {"policy": "middle"}) == 1
    assert value("pelton_truncated_tokens_total") == job.truncation.tokens


class NoCache:
    def count(self, outcome: CacheOutcome, replies: int) -> None:
        """In no figures."""
