"""Values between the tiers: what came from Redis is checked, and then kept locally."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pelton.cache.replies.failures import Failure
from pelton.cache.replies.local import LocalTier
from pelton.cache.replies.remote import Remote
from pelton.cache.replies.write_behind import WriteBehind
from pelton.cache.value_format import Damaged, decode, now_ms


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

    def __init__(self, local: LocalTier, remote: Remote, outbox: WriteBehind) -> None:
        self.local = local
        self._remote = remote
        self._outbox = outbox

    def held(self, keys: Iterable[str]) -> dict[str, Found]:
        """Those of `keys` that the local tier has."""
        found = {}
        for key in keys:
            if (value := self.local.get(key)) is not None:
                found[key] = Found(value, Tier.LOCAL)
        return found

    def taken_in(self, keys: Sequence[str], replies: Sequence[bytes | None]) -> dict[str, Found]:
        """The good ones among what Redis has for `keys`; they are kept locally. What is damaged is deleted."""
        now = now_ms()
        found: dict[str, Found] = {}
        for key, stored in zip(keys, replies, strict=True):
            if stored is None:
                continue
            try:
                value, expires_ms = decode(key, stored)
            except Damaged:
                self._remote.count(Failure.DAMAGED)
                self._outbox.delete(key)
                continue
            self.local.put(key, value, (expires_ms - now) / 1000)
            found[key] = Found(value, Tier.REMOTE)
        return found
