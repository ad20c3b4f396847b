"""The connection to Redis or Valkey, made in one place so that every user of it has the same limits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from pelton.cache.causes import cause_of
from pelton.pipeline.settings.cache import CacheSettings

TIMEOUT_S = 2.0


class CacheUnavailable(Exception):
    """Redis did not answer; the message says where it was sought and why it failed."""


def connect(settings: CacheSettings, *, timeout_s: float = TIMEOUT_S, max_connections: int | None = None) -> Redis:
    """A client with bounded waits that tries nothing twice; it connects on first use. The caller closes it (`aclose`).

    Raises `CacheUnavailable` when no server is set.
    """
    if settings.redis_url is None:
        raise CacheUnavailable("No Redis or Valkey is set: PELTON_CACHE__REDIS_URL names one.")
    return Redis.from_url(
        settings.redis_url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        max_connections=max_connections,
        retry=Retry(NoBackoff(), 0),
        # With version 3 the client takes a connection that has unread data, in case it is a notice; we want none of it.
        protocol=2,
        **_credentials(settings),
    )


@asynccontextmanager
async def round_trip(client: Redis, limit_s: float) -> AsyncIterator[Pipeline]:
    """A pipeline to fill and execute once, within so long. Raises `TimeoutError`, and whatever the client raises.

    The client may lose a cancellation that comes while it looks whether a connection of its pool has unread data: it is
    raised here, or a task that works for ever would never end.
    """
    try:
        async with asyncio.timeout(limit_s), client.pipeline(transaction=False) as pipe:
            yield pipe
    finally:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError


@asynccontextmanager
async def connected(settings: CacheSettings) -> AsyncIterator[Redis]:
    """A client for those who cannot do without. Raises `CacheUnavailable` for all that goes wrong with it."""
    client = connect(settings)
    try:
        yield client
    except (RedisError, OSError, TimeoutError) as error:
        raise CacheUnavailable(f"Redis at {address(settings)} {cause_of(settings, error).reason}.") from None
    finally:
        await client.aclose()


async def check(settings: CacheSettings) -> None:
    """Make sure that the cache answers. Raises `CacheUnavailable`."""
    async with connected(settings) as client:
        await client.ping()


def address(settings: CacheSettings) -> str:
    """The URL without the user and password that it may hold."""
    parts = urlsplit(settings.redis_url or "")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _credentials(settings: CacheSettings) -> dict[str, Any]:
    """What the settings add to the URL; what the URL has comes before it."""
    options: dict[str, Any] = {}
    if settings.username is not None:
        options["username"] = settings.username
    if settings.password is not None:
        options["password"] = settings.password.get_secret_value()
    if settings.ssl_cafile is not None:
        options["ssl_ca_certs"] = str(settings.ssl_cafile)
    return options
