"""What goes to Redis with nobody waiting for it: values, deletions, the end of leases. In order, batched, bounded."""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from pelton.cache.replies.failures import Failure
from pelton.cache.replies.remote import PATIENCE_S, Remote, Unavailable
from pelton.cache.value_format import ValueFormat, now_ms

MAX_BYTES = 32 * 1024 * 1024
"""Values that wait for Redis, at most; the oldest are dropped first."""
_BATCH_BYTES = 1024 * 1024
_BATCH_ITEMS = 256
_JITTER = 0.1
"""Part by which a time to live is varied: values written together must not all expire together."""

RELEASE = """
for i, key in ipairs(KEYS) do
  if redis.pcall('GET', key) == ARGV[i] then redis.call('DEL', key) end
end
"""
"""Compare and delete: a lease that has passed to somebody else is left alone."""


@dataclass(frozen=True, slots=True)
class _Item:
    key: str

    @property
    def size(self) -> int:
        return len(self.key)


@dataclass(frozen=True, slots=True)
class _Write(_Item):
    value: bytes
    lifetime_ms: int

    @property
    def size(self) -> int:
        return len(self.key) + len(self.value)


@dataclass(frozen=True, slots=True)
class _Delete(_Item):
    pass


@dataclass(frozen=True, slots=True)
class _Release(_Item):
    token: bytes


class WriteBehind:
    """Filled at once, emptied by the background task `run`.

    While Redis does not answer, things wait here, up to `MAX_BYTES`. What was sent and failed is not sent again: a
    cached value is worth one attempt.
    """

    def __init__(self, remote: Remote, rng: Random, value_format: ValueFormat) -> None:
        """Values that are longer than the format's bound stay where they are."""
        self._remote = remote
        self._format = value_format
        self._rng = rng
        self._items: deque[_Item] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._sending = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._items)

    def write(self, key: str, value: bytes, ttl_s: float) -> None:
        """Store a value under `key` for about `ttl_s`."""
        if len(value) > self._format.most:
            self._remote.count(Failure.DROPPED)
        else:
            lifetime_ms = ttl_s * 1000 * self._rng.uniform(1 - _JITTER, 1 + _JITTER)
            self._add(_Write(key, value, max(1, round(lifetime_ms))))

    def delete(self, key: str) -> None:
        self._add(_Delete(key))

    def release(self, key: str, token: bytes) -> None:
        """End the lease `key` if `token` still holds it."""
        self._add(_Release(key, token))

    def forget_values(self) -> None:
        """Drop the values that wait to be written, as when the cache is purged."""
        self._items = deque(item for item in self._items if not isinstance(item, _Write))
        self._bytes = sum(item.size for item in self._items)

    def wake(self) -> None:
        """Look again whether something can be sent."""
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.send()

    async def send(self) -> None:
        """Send what waits, until nothing does or Redis does not answer."""
        async with self._sending:
            while self._items and self._remote.answering.passes:
                await self._send(self._batch())

    def _add(self, item: _Item) -> None:
        self._items.append(item)
        self._bytes += item.size
        while self._bytes > MAX_BYTES:
            dropped = self._items.popleft()
            self._bytes -= dropped.size
            if isinstance(dropped, _Write):
                self._remote.count(Failure.DROPPED)
        self._wake.set()

    def _batch(self) -> list[_Item]:
        batch: list[_Item] = []
        size = 0
        while self._items and len(batch) < _BATCH_ITEMS and size < _BATCH_BYTES:
            item = self._items.popleft()
            batch.append(item)
            size += item.size
        self._bytes -= size
        return batch

    async def _send(self, batch: list[_Item]) -> None:
        writes = self._allowed([item for item in batch if isinstance(item, _Write)])
        deletes = [item.key for item in batch if isinstance(item, _Delete)]
        releases = [item for item in batch if isinstance(item, _Release)]
        if not (writes or deletes or releases):
            return
        # In a thread: the event loop has requests to serve, and compressing lets go of the interpreter.
        stored = await asyncio.to_thread(self._encoded, writes) if writes else []

        async def operation(client: Redis) -> list[Any]:
            pipe: Pipeline = client.pipeline(transaction=False)
            if deletes:  # before the writes: the good value that follows a damaged one must stay
                pipe.unlink(*deletes)
            for write, value in zip(writes, stored, strict=True):
                pipe.set(write.key, value, px=write.lifetime_ms)
            if releases:
                pipe.eval(RELEASE, len(releases), *(r.key for r in releases), *(r.token for r in releases))
            return (await pipe.execute(raise_on_error=False))[bool(deletes) :]

        with contextlib.suppress(Unavailable):
            replies = await self._remote.call(operation, PATIENCE_S)
            if writes:
                self._remote.judge_writes(replies[: len(writes)])

    def _allowed(self, writes: list[_Write]) -> list[_Write]:
        """None of them while Redis takes no writes; deletions and the ends of leases it takes even when it is full."""
        if self._remote.writable.passes:
            return writes
        for _ in writes:
            self._remote.count(Failure.DROPPED)
        return []

    def _encoded(self, writes: list[_Write]) -> list[bytes]:
        now = now_ms()
        return [self._format.encode(write.key, write.value, now + write.lifetime_ms) for write in writes]
