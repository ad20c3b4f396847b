"""The local tier: what this process has seen lately, bounded in bytes and in age."""

import sys
import time
from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

from cachetools import LRUCache


class _Entry(NamedTuple):
    value: bytes
    expires: float
    size: int


_OVERHEAD = sum(map(sys.getsizeof, (_Entry(b"", 0.0, 0), 0.0, sys.maxsize)))
"""Bytes of the objects beside key and value: the entry, its time and its size."""


class LocalTier:
    """Least recently used first out, and nothing past its time to live. All in constant time, amortised.

    `max_bytes` bounds all that it costs this process: keys, values, bookkeeping, and the hash tables, which for short
    values are a third of it. What expires unread leaves when it is the least recently used.
    """

    def __init__(self, max_bytes: int, ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._clock = clock
        self._entries: LRUCache[str, _Entry] = LRUCache(max_bytes, getsizeof=attrgetter("size"))
        # Whatever tables the library keeps. They grow by leaps: a fixed share for each entry would be as far off.
        self._tables = [table for table in vars(self._entries).values() if isinstance(table, dict)]

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """What all of it takes now, in bytes."""
        return int(self._entries.currsize) + sum(map(sys.getsizeof, self._tables))

    def get(self, key: str) -> bytes | None:
        try:
            entry = self._entries[key]
        except KeyError:
            return None
        if entry.expires <= self._clock():
            del self._entries[key]
            return None
        return entry.value

    def put(self, key: str, value: bytes, ttl_s: float | None = None) -> None:
        """Keep it for `ttl_s`, at most for the tier's own time to live. What alone exceeds the bound is not kept."""
        ttl = self._ttl_s if ttl_s is None else min(ttl_s, self._ttl_s)
        size = sys.getsizeof(key) + sys.getsizeof(value) + _OVERHEAD
        if ttl <= 0 or size > self.max_bytes:
            self._entries.pop(key, None)
            return
        self._entries[key] = _Entry(value, self._clock() + ttl, size)
        while self._entries and self.size > self.max_bytes:
            self._entries.popitem()

    def clear(self) -> None:
        self._entries.clear()
