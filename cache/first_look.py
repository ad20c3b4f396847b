"""The first look at Redis or Valkey, before any worker needs it: can it be used, and will it keep what it is given?"""

import asyncio
import contextlib
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from pelton.cache.causes import TLS_SCHEME, Cause, cause_of, is_cut_off
from pelton.cache.connection import TIMEOUT_S, CacheUnavailable, address, connect
from pelton.cache.keys import PREFIX
from pelton.pipeline.settings.cache import CacheSettings, SessionSettings

ATTEMPTS = 3
"""Connections closed in a row that are no chance any more."""
BETWEEN_S = 0.2
_PROBE_KEYS = (f"{PREFIX}:probe", f"{PREFIX}:probe-too")
"""In two slots: a server in cluster mode refuses them together, even where this user may not ask for its mode."""
_READ_BOTH = "return redis.call('MGET', KEYS[1], KEYS[2])"
_PROBE_MS = 500
_WITHOUT = "Until then each worker shares answers with itself only, and sessions are unavailable."
_WITHOUT_ANSWERS = "Until then each worker shares answers with itself only."
_WITHOUT_HISTORIES = "Until then sessions are unavailable."


async def look_at_servers(cache: CacheSettings, session: SessionSettings) -> list[str]:
    """What an operator should know of the server of answers, and of that of histories where it is another.

    Raises what `look_at_redis` does.
    """
    if session.redis_url is None:
        return [told for told in [await look_at_redis(cache)] if told is not None]
    of_answers = await look_at_redis(cache, keeps_histories=False)
    try:
        of_histories = await look_at_redis(cache.model_copy(update={"redis_url": session.redis_url}))
    except CacheUnavailable as error:
        raise CacheUnavailable(_of_sessions(str(error))) from None
    return [told for told in (of_answers, of_histories and _of_sessions(of_histories)) if told is not None]


def _of_sessions(told: str) -> str:
    """The same of the server whose URL is a setting of sessions; user, password and certificates are the cache's."""
    named = told.replace("cache.redis_url", "session.redis_url").replace("CACHE__REDIS_URL", "SESSION__REDIS_URL")
    return named.replace(_WITHOUT, _WITHOUT_HISTORIES)


async def look_at_redis(settings: CacheSettings, *, keeps_histories: bool = True) -> str | None:
    """What an operator should know, in a sentence; None where all is well or no server is set.

    Raises `CacheUnavailable` for what will not pass until somebody changes something.
    """
    if settings.redis_url is None:
        return None
    client = connect(settings)
    try:
        if cause := await _trouble(settings, client):
            told = f"Redis at {address(settings)} {cause.reason}."
            if not cause.passing:
                raise CacheUnavailable(told)
            return f"{told} {_WITHOUT if keeps_histories else _WITHOUT_ANSWERS}"
        return await _evictions(settings, client) if keeps_histories else None
    finally:
        await client.aclose()


async def _trouble(settings: CacheSettings, client: Redis) -> Cause | None:
    """Where connections are closed each time, that is no passing state."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            await client.eval(_READ_BOTH, len(_PROBE_KEYS), *_PROBE_KEYS)
            await client.set(_PROBE_KEYS[0], b"", px=_PROBE_MS)
        except (RedisError, OSError, TimeoutError) as error:
            cause = cause_of(settings, error)
            if is_cut_off(error) and attempt < ATTEMPTS:
                await asyncio.sleep(BETWEEN_S)
                continue
            if cause.passing and await _speaks_without_tls(settings):
                return Cause("does not speak TLS on this port: begin cache.redis_url with redis://", passing=False)
            return Cause(cause.reason, cause.passing and not is_cut_off(error))
        return None
    return None


async def _speaks_without_tls(settings: CacheSettings) -> bool:
    """A Redis waits for the rest of what it takes for a command: only plain text shows that it is one."""
    parts = urlsplit(settings.redis_url or "")
    if parts.scheme != TLS_SCHEME:
        return False
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 6379)
            with contextlib.closing(writer):
                writer.write(b"PING\r\n")
                return (await reader.read(1)) in (b"+", b"-")
    except (OSError, TimeoutError):
        return False


async def _evictions(settings: CacheSettings, client: Redis) -> str | None:
    try:
        memory = await client.info("memory")
    except ResponseError:  # the user may not ask
        return None
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy == "noeviction" or not memory.get("maxmemory"):
        return None
    return (
        f"Redis at {address(settings)} drops keys when it is full (maxmemory-policy {policy}): histories of sessions "
        "may end without a word; set it to noeviction where sessions matter."
    )
