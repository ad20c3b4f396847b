"""Under load answers are shortened or requests refused, and the reply says so."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pelton.pipeline.errors import Overloaded
from pelton.pipeline.metrics import Metrics, OverloadAction
from pelton.pipeline.settings.cache import CacheSettings
from pelton.pipeline.settings.quota import OverloadSettings
from pelton.pipeline.wire.chat import ChatCompletion, ChatRequest
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.workers.delivery.reply_records import WorkerIdentity, answer_record, reply_value
from pelton.workers.fairness.degrading import Degrading, Rule
from pelton.workers.prepare.cache_keys import CacheKeyBuilder
from pelton.workers.prepare.limits import RequestLimits
from pelton.workers.requests import CacheHit, CacheKeys, PreparedRequest, RenderedRequest
from pelton.workers.sharing.generation import Generation
from pelton.workers.sharing.single_flight import SingleFlight
from tests.unit._support.single_flight import BODY, URGENT, delivery

LIMITS = RequestLimits("tiny", 1_000, 1_000, default_max_new_tokens=512, max_request_bytes=10_000)
KEYS = CacheKeyBuilder.of(CacheSettings(), "tiny", b"", LIMITS)
SETTINGS: dict[str, Any] = {"shorten_above_s": 10.0, "shorten_to": 16, "refuse_above_s": 100.0, "recovered": 0.5}
ID = (("kafka_correlationId", b"id"),)


@dataclass
class Backlog:
    """Each request that is refused was a second of it."""

    seconds: float

    def give_up(self) -> None:
        self.seconds -= 1


def draft(headers: tuple[tuple[str, bytes], ...] = ID, **body: Any) -> RenderedRequest:
    request = ChatRequest.model_validate(
        {"model": "default", "messages": [{"role": "user", "content": "hi"}], "temperature": 0, **body}
    )
    owed = delivery(headers=headers)
    return RenderedRequest(owed, request, "hi", KEYS.keys(owed, request, "hi"))


def degrading(backlog: Backlog, flights: SingleFlight | None = None, **settings: Any) -> tuple[Degrading, Metrics]:
    metrics = Metrics()
    flights = flights or SingleFlight(max_waiting=10)
    return Degrading(OverloadSettings(**SETTINGS | settings), backlog, flights, KEYS, metrics), metrics


def count(metrics: Metrics, action: OverloadAction) -> float:
    return float(metrics.overload_actions.labels(action)._value.get())


@given(st.lists(st.floats(0, 200) | st.just(math.nan), max_size=60), st.floats(1, 100), st.floats(0.1, 1))
def test_a_rule_changes_only_beyond_both_ends(looks: list[float], above_s: float, recovered: float) -> None:
    """It begins above its threshold and ends below a part of it: between the two, and where nothing is known, it stays
    as it is.
    """
    rule = Rule(above_s, recovered)
    states = [False, *map(rule.look, looks)]
    for seconds, (before, after) in zip(looks, pairwise(states), strict=True):
        if math.isnan(seconds) or recovered * above_s < seconds <= above_s:
            assert after == before
        else:
            assert after == (seconds > above_s)


def test_without_a_backlog_and_without_a_rule_nothing_is_done() -> None:
    """The very request goes on."""
    calm, one = degrading(Backlog(5.0))[0], draft()
    assert calm.apply(one) is one
    assert degrading(Backlog(1e9), shorten_above_s=None, refuse_above_s=None)[0].apply(one) is one


def test_a_shortened_request_shares_no_key_with_what_it_asked_for() -> None:
    """Neither the whole answer, nor that of a request for so few tokens, nor the reply that is kept for its record."""
    rules, metrics = degrading(Backlog(50.0))
    whole, short, few = draft(max_tokens=300), rules.apply(draft(max_tokens=300)), draft(max_tokens=16)
    assert short.shortened_to == 16
    assert whole.keys.answer is not None
    assert whole.keys.resend is not None
    assert short.keys.resend is None
    assert len({whole.keys.answer, short.keys.answer, few.keys.answer, whole.keys.resend, None}) == 5
    assert rules.apply(draft(max_tokens=300)).keys == short.keys
    assert count(metrics, OverloadAction.SHORTENED) == 2


@pytest.mark.parametrize(
    "one",
    [
        draft(max_tokens=16),
        draft(URGENT),
        draft(min_tokens=17),
        draft(response_format={"type": "json_object"}),
        draft(tools=[{"type": "function", "function": {"name": "look"}}]),
    ],
    ids=["asks for no more", "interactive", "needs more", "has a form", "may be a call"],
)
def test_what_gains_nothing_or_would_be_broken_is_not_cut(one: RenderedRequest) -> None:
    """Half of a JSON object is no answer, and interactive requests are spared unless a setting says otherwise."""
    assert degrading(Backlog(50.0))[0].apply(one) is one


def test_interactive_requests_are_not_spared_by_setting() -> None:
    """Then they are cut like any other."""
    assert degrading(Backlog(50.0), spare_interactive=False)[0].apply(draft(URGENT)).shortened_to == 16


@pytest.mark.parametrize("seconds", [50.0, 500.0])
def test_what_joins_a_running_answer_costs_nothing(seconds: float) -> None:
    """It is neither cut nor refused."""
    flights, one = SingleFlight(max_waiting=10), draft()
    first = draft()
    flights.join(PreparedRequest(first.delivery, first.request, [1], 512, keys=first.keys))
    assert degrading(Backlog(seconds), flights)[0].apply(one) is one


def test_requests_are_refused_until_the_backlog_has_recovered() -> None:
    """Not all that come before the next look: as many as there are too many, each with when to come again."""
    backlog = Backlog(120.0)
    rules, metrics = degrading(backlog)
    waits: list[float | None] = []
    for _ in range(200):
        try:
            assert rules.apply(draft()).shortened_to == 16
            break
        except Overloaded as error:
            refused = error
            waits.append(error.retry_after_s)
    assert refused.for_load
    assert not refused.dead_letter
    assert backlog.seconds == 50.0
    assert (waits[0], waits[-1], len(waits)) == (70.0, 1.0, 70)
    assert count(metrics, OverloadAction.REFUSED) == 70


def test_the_reply_says_what_was_cut() -> None:
    """In its header and its body; that of a whole answer has neither."""
    owed = delivery()
    for shortened_to, header in ((16, b"max_completion_tokens=16"), (None, None)):
        ending = CacheHit(owed, CacheKeys(), BODY, CacheOutcome.MISS, shortened_to=shortened_to)
        value = reply_value(BODY.replace(b'"usage":{}', b'"usage":null'), "tiny", ending.shortened_to)
        assert dict(answer_record(ending, value, WorkerIdentity("tiny", "w")).headers).get("pelton-degraded") == header
        assert (b'"pelton_degraded":{"max_completion_tokens":16}' in value) == (shortened_to is not None)


def test_who_joins_a_shortened_answer_is_told_too() -> None:
    """And whoever asked for no more is not."""
    rules, _ = degrading(Backlog(50.0))
    first, second = (rules.apply(draft(ID)) for _ in range(2))
    jobs = [
        PreparedRequest(each.delivery, each.request, [1], 16, keys=each.keys, shortened_to=each.shortened_to)
        for each in (first, second)
    ]
    generation = Generation(first.keys.flight, jobs[0])
    joined = generation.joined(jobs[1], BODY, b"the whole reply of the first")
    assert isinstance(joined, CacheHit)
    assert joined.shortened_to == 16


def test_clients_read_what_was_cut() -> None:
    """The member is part of what the contract's model knows."""
    usage = b'{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}'
    value = reply_value(b'{"choices":[],"usage":' + usage + b"}", "tiny", 16)
    degraded = ChatCompletion.model_validate_json(value).pelton_degraded
    assert degraded is not None
    assert degraded.max_completion_tokens == 16


def test_a_rule_that_could_never_hold_is_a_fault() -> None:
    """What is refused cannot be shortened."""
    with pytest.raises(ValidationError, match="shorten_above_s must be below refuse_above_s"):
        OverloadSettings(shorten_above_s=5.0, refuse_above_s=5.0)
