"""Reads and writes the cache for requests: answers for equal ones, whole replies for those that come again."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import chain

from pelton.cache.replies.tiered import Found, TieredCache
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.workers.containment import together_async
from pelton.workers.requests import CacheHit, CacheKeys, Duplicate, RenderedRequest, Result

_DIGEST_SIZE = 16
_WHOLE, _HEAD = b"v", b"h"


class ReplyCache:
    """Looks drafts up before they are tokenised, and keeps what was answered. Lives on the event loop."""

    def __init__(self, cache: TieredCache, resend_window_s: float) -> None:
        self._cache = cache
        self._resend_window_s = resend_window_s

    async def look_up(self, drafts: Sequence[RenderedRequest]) -> tuple[list[Result], list[RenderedRequest]]:
        """Part what has an answer already, or fails, from what has none, in one look-up for all."""
        looked_up, refused = await together_async("look up", drafts, self._look_up, lambda draft: draft.delivery)
        endings: list[Result] = [*refused, *(ending for _, ending in looked_up if ending is not None)]
        return endings, [draft for draft, ending in looked_up if ending is None]

    async def _look_up(self, drafts: Sequence[RenderedRequest]) -> list[tuple[RenderedRequest, Result | None]]:
        keys = list(chain.from_iterable(draft.keys.read for draft in drafts))
        found = await self._cache.get_many(keys) if keys else {}
        return [(draft, _recalled(draft, found) if found else None) for draft in drafts]

    def count(self, outcome: CacheOutcome, replies: int) -> None:
        """Count replies in the figures that all workers share."""
        self._cache.count(outcome, replies)

    def keep(self, keys: CacheKeys, value: bytes, body: bytes, outcome: CacheOutcome) -> None:
        """Keep a reply, `value`, that ends with `body`."""
        if keys.answer is not None and outcome is CacheOutcome.MISS:
            self._cache.put(keys.answer, body)
        if keys.resend is not None:
            self._cache.put(keys.resend, _encoded(keys, value, body), self._resend_window_s)


def _recalled(draft: RenderedRequest, found: Mapping[str, Found]) -> Result | None:
    keys = draft.keys
    if keys.fresh:
        return None
    answer = found.get(keys.answer or "")
    reply = found.get(keys.resend or "")
    value = _decoded(reply.value, answer) if reply is not None else None
    if value is not None:
        return Duplicate(draft.delivery, value, truncation=draft.truncation)
    if answer is not None:
        outcome = CacheOutcome(answer.tier)
        return CacheHit(
            draft.delivery, keys, answer.value, outcome, shortened_to=draft.shortened_to, truncation=draft.truncation
        )
    return None


def _encoded(keys: CacheKeys, value: bytes, body: bytes) -> bytes:
    """What to keep of a reply: all of it, or only what its answer, kept under its own key, does not have."""
    if keys.answer is None:
        return _WHOLE + value
    return _HEAD + _digest(body) + value.removesuffix(body[1:])


def _decoded(entry: bytes, answer: Found | None) -> bytes | None:
    """The reply that was remembered; None when its answer is gone, or was replaced by another."""
    kind, rest = entry[:1], entry[1:]
    if kind == _WHOLE:
        return rest
    if answer is None or rest[:_DIGEST_SIZE] != _digest(answer.value):
        return None
    return rest[_DIGEST_SIZE:] + answer.value[1:]


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=_DIGEST_SIZE).digest()
