"""The connection to Redis or Valkey, made in one place so that every user of it has the same limits."""

from redis.asyncio import Redis
from redis.exceptions import RedisError

TIMEOUT_S = 2.0


class CacheUnavailable(Exception):
    """Redis did not answer; the message says where it was sought and why it failed."""


def connect(redis_url: str) -> Redis:
    """A client with bounded waits; it connects on first use. The caller closes it (`aclose`)."""
    return Redis.from_url(redis_url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)


async def check(redis_url: str) -> None:
    """Make sure that the cache answers. Raises `CacheUnavailable`."""
    client = connect(redis_url)
    try:
        await client.ping()
    except (RedisError, OSError, TimeoutError) as error:
        raise CacheUnavailable(f"The cache at {redis_url} does not answer: {error}.") from None
    finally:
        await client.aclose()
