"""The remote tier's manners: Redis or Valkey may be slow, frozen, full or gone, and a request loses little by it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import InvalidResponse, MaxConnectionsError

from pelton.cache.connection import address, connect
from pelton.cache.replies.circuit_breaker import CircuitBreaker, State
from pelton.cache.replies.failures import Failure, kind_of_failure
from pelton.cache.value_format import MAX_AROUND_BYTES
from pelton.pipeline.settings.cache import CacheSettings

T = TypeVar("T")
Operation = Callable[[Redis], Awaitable[T]]

PATIENCE_S = 1.0
"""How long an operation may take that nobody waits for, or waits for no longer."""
MAX_CONNECTIONS = 16
MAX_VALUE_BYTES = 1024 * 1024
"""Longer values are not kept in Redis: reading one would take a request's whole budget, and look like a slow server."""
MAX_STORED_BYTES = MAX_VALUE_BYTES + MAX_AROUND_BYTES
_WARM_CONNECTIONS = 4
_GRACE_PASSES = 4
"""Turns of the event loop after the time-out: an answer that came while the loop was busy is still read."""


class Unavailable(Exception):
    """The remote tier did not answer: go on without it. The reason has been counted."""


class Remote:
    """Redis behind two breakers: `answering` for all that is asked of it, `writable` for whether it takes writes.

    A Redis out of memory refuses writes and still serves reads. Lives on one event loop. Nothing passes before the
    first `probe`; without a `redis_url` nothing ever does. `count` is told of every failure.
    """

    def __init__(self, settings: CacheSettings, count: Callable[[Failure], None]) -> None:
        self.budget_s = settings.timeout_ms / 1000
        self.answering = CircuitBreaker(f"The cache at {address(settings)}", State.OPEN)
        self.writable = CircuitBreaker(f"Writing to the cache at {address(settings)}")
        self.count = count
        self._client: Redis | None = None
        if settings.redis_url is not None:
            self._client = connect(settings, timeout_s=PATIENCE_S, max_connections=MAX_CONNECTIONS)
        self._unwaited: set[asyncio.Task[Any]] = set()

    @property
    def exists(self) -> bool:
        """Whether there is one at all."""
        return self._client is not None

    @property
    def takes_writes(self) -> bool:
        return self.answering.passes and self.writable.passes

    async def call(self, operation: Operation[T], limit_s: float | None = None) -> T:
        """Do it within `limit_s`, by default a request's budget. Raises `Unavailable`.

        What takes longer goes on unwaited, up to `PATIENCE_S`: so no connection is lost half-way through its making,
        nor closed for an answer that is only late.
        """
        if self._client is None or not self.answering.passes:
            raise Unavailable
        try:
            result = await self._within(self.budget_s if limit_s is None else limit_s, operation(self._client))
        except MaxConnectionsError:
            self.count(Failure.BUSY)
            raise Unavailable from None
        except Exception as error:  # noqa: BLE001  # fed with garbage, the client's parser may raise anything
            self._failed(error)
            raise Unavailable from None
        self.answering.succeeded()
        return result

    def judge_writes(self, replies: Sequence[object]) -> None:
        """Take in what became of the writes of a pipeline, each an answer or an error."""
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        for error in errors:
            self.count(kind_of_failure(error))
        if not errors:
            self.writable.succeeded()
        else:
            self.writable.failed(str(errors[0]))

    async def probe(self, operation: Operation[T]) -> T:
        """As `call`, but an open breaker does not stop it, and an answer within a request's budget heals it.

        Connections are made beforehand, some for the requests that follow too. Raises `Unavailable`.
        """
        if self._client is None:
            raise Unavailable
        if self.answering.passes:
            return await self.call(operation)
        try:
            await asyncio.gather(*(self._client.ping() for _ in range(_WARM_CONNECTIONS)))
            result = await self._within(self.budget_s, operation(self._client))
        except Exception as error:  # noqa: BLE001  # as in `call`
            self._failed(error)
            raise Unavailable from None
        self.answering.heal()
        return result

    async def close(self) -> None:
        for task in self._unwaited:
            task.cancel()
        await asyncio.gather(*self._unwaited, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    def _failed(self, error: Exception) -> None:
        self.count(kind_of_failure(error))
        self.answering.failed(str(error) or repr(error))

    async def _within(self, limit_s: float, work: Awaitable[T]) -> T:
        """Raises `TimeoutError`, and whatever `work` raises."""
        task: asyncio.Task[T] = asyncio.create_task(_awaited(work))
        try:
            await asyncio.wait((task,), timeout=limit_s)
            for _ in range(_GRACE_PASSES):
                if task.done():
                    return task.result()
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.done():
            return task.result()
        self._unwaited.add(task)
        task.add_done_callback(self._forget)
        raise TimeoutError(f"no answer within {limit_s * 1000:g} ms")

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._unwaited.discard(task)
        if not task.cancelled():
            task.exception()  # read, or asyncio logs it


READ = """
local values = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do
  if values[i] and #values[i] > tonumber(ARGV[1]) then values[i] = 'too long' end
end
return values
"""
"""What lies under the keys; of what is longer than anything that is ever stored, only that it is."""


async def mget(client: Redis, keys: Sequence[str]) -> list[bytes | None]:
    """What lies under each of `keys`, None for nothing and for what is no string. Raises `InvalidResponse`."""
    return checked(keys, await client.eval(READ, len(keys), *keys, MAX_STORED_BYTES))


def checked(keys: Sequence[str], replies: object) -> list[Any]:
    """`replies`, made sure to be a list with one for each key. Raises `InvalidResponse`, or the error it is."""
    if isinstance(replies, Exception):
        raise replies
    if not isinstance(replies, list) or len(replies) != len(keys):
        raise InvalidResponse(f"{len(keys)} keys were answered with {type(replies).__name__}")
    return replies


async def _awaited(work: Awaitable[T]) -> T:
    return await work
