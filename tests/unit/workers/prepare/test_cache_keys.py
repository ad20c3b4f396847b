"""Which requests share an answer: everything that may change it is in the key, and nothing else."""

import time
from dataclasses import fields, replace
from typing import Any

import orjson
import pytest

from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.settings.cache import CacheSettings
from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.headers import ReplyPolicy, read_envelope
from pelton.pipeline.wire.records import RequestRecord, Source
from pelton.workers.engine.api import SamplingParams
from pelton.workers.prepare.cache_keys import CacheKeyBuilder, sampling_identity
from pelton.workers.prepare.limits import RequestLimits
from pelton.workers.prepare.sampling_params import sampling_params
from pelton.workers.requests import CacheKeys, Delivery

LIMITS = RequestLimits(
    "tiny", context_length=100, budget_tokens=80, default_max_new_tokens=50, max_request_bytes=10_000
)
SETTINGS = CacheSettings()
ID = ("kafka_correlationId", b"id")
OTHER_VALUES: dict[str, Any] = {
    "max_tokens": 7,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "min_p": 0.1,
    "repetition_penalty": 1.5,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "seed": 4,
    "stop": ("\n",),
    "logprobs": 2,
    "ignore_eos": True,
    "logit_bias": ((5, 1.0),),
    "stop_token_ids": (5,),
    "min_tokens": 2,
    "n": 2,
}
"""One for each field of `SamplingParams` that is not its usual value: a new field has to be added here."""


def key_builder(
    settings: CacheSettings = SETTINGS, fingerprint: bytes = b"weights", limits: RequestLimits = LIMITS
) -> CacheKeyBuilder:
    return CacheKeyBuilder.of(settings, "tiny", fingerprint, limits)


def keys(
    ring: CacheKeyBuilder | None = None,
    text: str = "user: hi",
    headers: tuple[tuple[str, bytes], ...] = (),
    **asked: Any,
) -> CacheKeys:
    body = {"model": "default", "messages": [{"role": "user", "content": "hi"}], "temperature": 0, **asked}
    source = Source("requests", 3, 14)
    record = RequestRecord(source, None, orjson.dumps(body), headers, int(time.time() * 1000), 0)
    envelope = read_envelope(source, headers, ReplyPolicy("replies"))
    delivery = Delivery(record, envelope, OffsetTracker(), 0.0, 0.0)
    return (ring or key_builder()).keys(delivery, ChatRequest.model_validate(body), text)


@pytest.mark.parametrize("field", [field.name for field in fields(SamplingParams)])
def test_every_sampling_field_is_part_of_the_key(field):
    """Two requests that differ in any field of what the engine is told do not share an answer."""
    usual = SamplingParams(max_tokens=5, temperature=1.0, seed=3)
    assert sampling_identity(usual) != sampling_identity(replace(usual, **{field: OTHER_VALUES[field]}))


def test_where_nothing_is_left_to_chance_chance_does_not_count():
    """At temperature 0 the seed and what narrows the choice change nothing, so they do not part equal requests."""
    plain = SamplingParams(max_tokens=5, temperature=0)
    assert sampling_identity(plain) == sampling_identity(replace(plain, seed=3, top_p=0.5, top_k=7, min_p=0.5))
    assert sampling_identity(plain) != sampling_identity(replace(plain, frequency_penalty=1.0))


def test_the_engine_is_told_what_was_asked_for():
    """OpenAI's defaults stand in for what a request does not say."""
    request = ChatRequest.model_validate({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
    assert sampling_params(request, 9) == SamplingParams(max_tokens=9, temperature=1.0, top_p=1.0)


@pytest.mark.parametrize(
    ("asked", "cacheable"),
    [
        ({"temperature": 0}, True),
        ({"temperature": 0.0, "seed": 5}, True),
        ({"temperature": 1, "seed": 5}, True),
        ({"temperature": None}, False),
        ({"temperature": 0.7}, False),
    ],
)
def test_only_what_is_reproducible_has_an_answer_to_find(asked, cacheable):
    """Temperature 0 or a seed."""
    assert (keys(**asked).answer is not None) == cacheable


@pytest.mark.parametrize(
    "other",
    [
        {"text": "user: ho"},
        {"text": "user: hi "},
        {"headers": (("pelton-tenant", b"acme"),)},
        {"ring": key_builder(fingerprint=b"other weights")},
        {"max_completion_tokens": 50},
        {"ring": key_builder(limits=replace(LIMITS, default_max_new_tokens=49))},
        {"ring": key_builder(limits=replace(LIMITS, budget_tokens=79))},
        {"stop": "."},
        {"logprobs": True},
    ],
)
def test_whatever_may_change_the_answer_changes_the_key(other):
    """Prompt to the letter, tenant, model, limits that decide the answer's length, sampling."""
    assert keys(**other).answer != keys().answer


@pytest.mark.parametrize("other", [{"user": "me"}, {"metadata": {"a": "b"}}, {"model": "tiny"}, {"headers": (ID,)}])
def test_what_cannot_change_the_answer_does_not_change_the_key(other):
    """Who asks under which id, and the notes on a request, are not in its prompt."""
    assert keys(**other).answer == keys().answer


def test_limits_do_not_part_requests_that_say_how_long():
    """An answer of the asked length is the same on a worker with more room."""
    roomy = key_builder(limits=replace(LIMITS, budget_tokens=90))
    assert keys(max_completion_tokens=9).answer == keys(roomy, max_completion_tokens=9).answer


def test_tenants_share_where_the_operator_says_so():
    """By default they do not."""
    shared = key_builder(CacheSettings(share_across_tenants=True))
    acme = (("pelton-tenant", b"acme"),)
    assert keys(shared, headers=acme).answer == keys(shared).answer


def test_a_resend_is_known_by_the_senders_own_id():
    """Tenant, address, id and body; a made-up id is every record's own, so it cannot come again."""
    assert keys().resend is None
    known = keys(headers=(ID,)).resend
    assert known == keys(headers=(ID,)).resend
    assert known is not None
    others = [
        keys(headers=(("kafka_correlationId", b"other"),)),
        keys(headers=(ID, ("pelton-tenant", b"acme"))),
        keys(headers=(ID, ("kafka_replyPartition", (1).to_bytes(4, "big")))),
        keys(headers=(ID,), user="me"),
    ]
    assert known not in [other.resend for other in others]


def test_the_header_decides_what_is_read():
    """`refresh` is written and not read, `bypass` neither; so too where the cache is off."""
    fresh = keys(headers=(ID, ("pelton-cache", b"refresh")))
    assert (fresh.answer, fresh.read, fresh.flight) == (keys().answer, [], None)
    assert keys(headers=(ID, ("pelton-cache", b"bypass"))) == CacheKeys()
    assert keys(key_builder(CacheSettings(enabled=False)), headers=(ID,)) == CacheKeys()
    used = keys(headers=(ID, ("pelton-cache", b"use")))
    assert (used.read, used.flight) == ([used.resend, used.answer], used.answer)
