"""What is looked up before a request is generated, and what is kept of its reply."""

import dataclasses
from collections.abc import Sequence
from typing import cast

import pytest

from pelton.cache.replies.tiered import TieredCache
from pelton.cache.replies.values import Found, Tier
from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.pipeline.wire.headers import ReplyPolicy, read_envelope
from pelton.pipeline.wire.records import RequestRecord, Source
from pelton.workers.requests import CacheHit, CacheKeys, Delivery, Duplicate, RenderedRequest
from pelton.workers.sharing.reply_cache import ReplyCache

BODY = b'{"choices":[1],"usage":{}}'
VALUE = b'{"id":"1","created":7,"choices":[1],"usage":{}}'
KEYS = CacheKeys("answer", "resend")
REQUEST = ChatRequest.model_validate({"model": "default", "messages": [{"role": "user", "content": "hi"}]})


class FakeCache:
    """Two tiers in a dict; counts its look-ups."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.lookups: list[list[str]] = []
        self.lifetimes: dict[str, float | None] = {}

    async def get_many(self, keys: Sequence[str]) -> dict[str, Found]:
        self.lookups.append(list(keys))
        return {key: Found(self.values[key], Tier.REMOTE) for key in keys if key in self.values}

    def put(self, key: str, value: bytes, ttl_s: float | None = None) -> None:
        self.values[key] = value
        self.lifetimes[key] = ttl_s


@pytest.fixture
def cache() -> FakeCache:
    return FakeCache()


@pytest.fixture
def reply_cache(cache: FakeCache) -> ReplyCache:
    return ReplyCache(cast(TieredCache, cache), resend_window_s=60)


def draft(keys: CacheKeys = KEYS) -> RenderedRequest:
    source = Source("requests", 0, 0)
    record = RequestRecord(source, None, b"", [], 0, 0)
    delivery = Delivery(record, read_envelope(source, (), ReplyPolicy("replies")), OffsetTracker(), 0.0, 0.0)
    return RenderedRequest(delivery, REQUEST, "hi", keys)


async def test_a_batch_is_looked_up_at_once(reply_cache, cache):
    """One look-up for all keys of a polled batch; what has none is not looked for."""
    cache.values["b"] = BODY
    drafts = [draft(CacheKeys("a")), draft(CacheKeys("b")), draft(CacheKeys()), draft(CacheKeys("b", fresh=True))]
    endings, missing = await reply_cache.look_up(drafts)
    assert cache.lookups == [["a", "b"]]
    assert endings == [CacheHit(drafts[1].delivery, drafts[1].keys, BODY, CacheOutcome.HIT_REMOTE)]
    assert missing == [drafts[0], drafts[2], drafts[3]]


async def test_without_keys_nobody_is_asked(reply_cache, cache):
    """As when the cache is off."""
    one = draft(CacheKeys())
    assert await reply_cache.look_up([one]) == ([], [one])
    assert cache.lookups == []


@pytest.mark.parametrize("keys", [KEYS, CacheKeys(None, "resend")])
async def test_a_request_that_comes_again_gets_the_very_same_reply(reply_cache, keys):
    """Byte for byte, whether its answer is kept for others as well or not."""
    reply_cache.keep(keys, VALUE, BODY, CacheOutcome.MISS)
    again = draft(keys)
    assert await reply_cache.look_up([again]) == ([Duplicate(again.delivery, VALUE)], [])


async def test_a_reply_from_the_cache_is_remembered_too(reply_cache, cache):
    """Of a hit only what is its own is written, for as long as resends are known."""
    cache.values["answer"] = BODY
    reply_cache.keep(KEYS, VALUE, BODY, CacheOutcome.HIT_LOCAL)
    assert cache.values["answer"] is BODY
    assert len(cache.values["resend"]) < len(VALUE)
    assert cache.lifetimes["resend"] == 60
    again = draft()
    assert await reply_cache.look_up([again]) == ([Duplicate(again.delivery, VALUE)], [])


async def test_a_reply_whose_answer_has_changed_is_not_told_again(reply_cache, cache):
    """Half of the old reply and half of the new answer would be neither: the request counts as a new one."""
    reply_cache.keep(KEYS, VALUE, BODY, CacheOutcome.MISS)
    cache.values["answer"] = b'{"choices":[2],"usage":{}}'
    ((ending,), missing) = await reply_cache.look_up([draft()])
    assert (ending.outcome, missing) == (CacheOutcome.HIT_REMOTE, [])
    del cache.values["answer"]
    assert (await reply_cache.look_up([draft()]))[0] == []


async def test_a_fresh_answer_replaces_the_old_one(reply_cache, cache):
    """`refresh` writes what it does not read."""
    cache.values["answer"] = b"old"
    reply_cache.keep(dataclasses.replace(KEYS, fresh=True), VALUE, BODY, CacheOutcome.MISS)
    assert cache.values["answer"] == BODY
