"""Looking over what Redis holds, and purging it: page by page, so that the server never stands still for it."""

import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from pelton.cache.keys import Kind, owner_of, pattern
from pelton.cache.replies.health import OUTCOMES_KEY, SINCE, announce_purge

_PAGE = 1000
_NEVER_MS = 10**14
"""Past any date that a calendar here has; Redis may hold anything."""
_COUNT = re.compile(rb"[0-9]{1,18}")
_STORED = (Kind.ANSWER, Kind.RESEND)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose entries they are. A resend's key names no model; answers shared by all tenants have the tenant ""."""

    kind: Kind
    model: str | None
    tenant: str


@dataclass(slots=True)
class Holdings:
    """What an owner has in Redis. `bytes` is its memory, keys included."""

    entries: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class CacheSummary:
    """`outcomes` counts how requests came by their answers since `since_ms` (Unix), over all workers."""

    holdings: dict[Owner, Holdings]
    outcomes: Counter[str]
    since_ms: int | None


async def survey(client: Redis) -> CacheSummary:
    """Walk over all entries. What is written or expires meanwhile may be counted or not."""
    holdings: dict[Owner, Holdings] = {}
    for kind in _STORED:
        async for keys in _pages(client, pattern(kind)):
            await _weigh(client, kind, keys, holdings)
    return CacheSummary(holdings, *await _outcomes(client))


async def purge(client: Redis, *, model: str | None = None, tenant: str | None = None) -> int:
    """Delete the entries of a model, of a tenant, of both at once, or all; return how many there were.

    A resend belongs to a tenant and to no model: it goes unless a model is named. The workers' local tiers are emptied
    altogether within a second.
    """
    kinds = _STORED if model is None else (Kind.ANSWER,)
    deleted = 0
    for kind in kinds:
        async for keys in _pages(client, pattern(kind, model=model, tenant=tenant)):
            deleted += await client.unlink(*keys)
    # Last: a local tier emptied earlier could have been filled again from what was not deleted yet.
    await announce_purge(client)
    return deleted


async def _pages(client: Redis, matching: str) -> AsyncIterator[list[Any]]:
    cursor = None
    while cursor != 0:
        cursor, keys = await client.scan(cursor or 0, match=matching, count=_PAGE)
        if keys:
            yield keys


async def _weigh(client: Redis, kind: Kind, keys: list[Any], holdings: dict[Owner, Holdings]) -> None:
    pipe: Pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipe.memory_usage(key)
    for key, size in zip(keys, await pipe.execute(), strict=True):
        owner = owner_of(key.decode("utf-8", "replace"))
        if owner is None or size is None:  # nothing of ours, or gone by now
            continue
        held = holdings.setdefault(Owner(kind, *owner), Holdings())
        held.entries += 1
        held.bytes += size


async def _outcomes(client: Redis) -> tuple[Counter[str], int | None]:
    fields: dict[Any, Any] = await client.hgetall(OUTCOMES_KEY)
    counts = {name.decode("utf-8", "replace"): int(count) for name, count in fields.items() if _COUNT.fullmatch(count)}
    since_ms = counts.pop(SINCE, None)
    return Counter(counts), since_ms if since_ms is not None and since_ms < _NEVER_MS else None
