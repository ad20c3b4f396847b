"""Values between the tiers: what came from Redis is checked, and then kept locally."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pelton.cache.replies.failures import Failure
from pelton.cache.replies.local import LocalTier
from pelton.cache.replies.remote import Remote
from pelton.cache.replies.write_behind import WriteBehind
from pelton.cache.value_format import Damaged, ValueFormat, now_ms

_AT_ONCE_BYTES = 32 * 1024
"""What is unpacked on the event loop; a thread takes as long to wake as that."""


class Tier(StrEnum):
    """Where a value was found, as the reply says it."""

    LOCAL = "hit-local"
    REMOTE = "hit-remote"


@dataclass(frozen=True, slots=True)
class Found:
    value: bytes
    tier: Tier


class TierLookup:
    """The local tier, and the way into it from Redis."""

    def __init__(self, local: LocalTier, remote: Remote, outbox: WriteBehind, value_format: ValueFormat) -> None:
        self.local = local
        self._remote = remote
        self._outbox = outbox
        self._format = value_format

    def held(self, keys: Iterable[str]) -> dict[str, Found]:
        """Those of `keys` that the local tier has."""
        found = {}
        for key in keys:
            if (value := self.local.get(key)) is not None:
                found[key] = Found(value, Tier.LOCAL)
        return found

    async def taken_in(self, keys: Sequence[str], replies: Sequence[bytes | None]) -> dict[str, Found]:
        """The good ones among what Redis has for `keys`; they are kept locally. What is damaged is deleted."""
        stored = {key: reply for key, reply in zip(keys, replies, strict=True) if reply is not None}
        if sum(len(reply) for reply in stored.values() if isinstance(reply, bytes)) <= _AT_ONCE_BYTES:
            decoded = self._decoded(stored)
        else:
            decoded = await asyncio.to_thread(self._decoded, stored)
        now = now_ms()
        found: dict[str, Found] = {}
        for key, result in decoded.items():
            if isinstance(result, Damaged):
                self._remote.count(Failure.DAMAGED)
                self._outbox.delete(key)
            else:
                value, expires_ms = result
                self.local.put(key, value, (expires_ms - now) / 1000)
                found[key] = Found(value, Tier.REMOTE)
        return found

    def _decoded(self, stored: Mapping[str, bytes]) -> dict[str, tuple[bytes, int] | Damaged]:
        """Each value with the moment its life ends (Unix milliseconds), or what is wrong with it."""
        decoded: dict[str, tuple[bytes, int] | Damaged] = {}
        for key, reply in stored.items():
            try:
                decoded[key] = self._format.decode(key, reply)
            except Damaged as error:
                decoded[key] = error
        return decoded
