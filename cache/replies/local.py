"""The local tier: what this process has seen lately, bounded in bytes and in age."""

import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple


class _Entry(NamedTuple):
    value: bytes
    expires: float
    size: int


_OVERHEAD = sum(map(sys.getsizeof, (_Entry(b"", 0.0, 0), 0.0, sys.maxsize)))
"""Bytes of the objects beside key and value: the entry, its time and its size."""


class LocalTier:
    """Least recently used first out, and nothing past its time to live. All in constant time, amortised.

    `max_bytes` bounds all that it costs this process: keys, values, bookkeeping, and the hash table, which for short
    values is a third of it. What expires unread leaves when it is the least recently used.
    """

    def __init__(self, max_bytes: int, ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """What all of it takes now, in bytes."""
        # The table grows by leaps: a fixed share for each entry would be far off.
        return self._bytes + sys.getsizeof(self._entries)

    def get(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires <= self._clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    def put(self, key: str, value: bytes, ttl_s: float | None = None) -> None:
        """Keep it for `ttl_s`, at most for the tier's own time to live. What alone exceeds the bound is not kept."""
        ttl = self._ttl_s if ttl_s is None else min(ttl_s, self._ttl_s)
        size = sys.getsizeof(key) + sys.getsizeof(value) + _OVERHEAD
        if key in self._entries:
            self._drop(key)
        if ttl <= 0 or size > self.max_bytes:
            return
        self._entries[key] = _Entry(value, self._clock() + ttl, size)
        self._bytes += size
        while self._entries and self.size > self.max_bytes:
            self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        self._entries.clear()
        self._bytes = 0

    def _drop(self, key: str) -> None:
        self._bytes -= self._entries.pop(key).size
