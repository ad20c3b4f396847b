"""Leases: of all the workers that want the same answer, one generates it.

A lease is a key with a random token and a short life. Its holder extends it while it works; a holder that dies lets it
run out, and the next to ask gets it. What is written under an answer's key is right whoever writes it, so a holder that
has lost its lease does no harm: the token only keeps it from extending or ending somebody else's.
"""

import asyncio
import secrets
from collections.abc import Sequence
from enum import Enum, auto

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from pelton.cache.keys import lease_key
from pelton.cache.replies.failures import Failure
from pelton.cache.replies.remote import MAX_STORED_BYTES, PATIENCE_S, READ, Remote, Unavailable, checked, mget
from pelton.cache.replies.values import Found, TierLookup
from pelton.cache.replies.write_behind import WriteBehind

_TOKEN_BYTES = 16

EXTEND = """
local held = {}
for i, key in ipairs(KEYS) do
  if redis.pcall('GET', key) == ARGV[i + 1] then held[i] = redis.call('PEXPIRE', key, ARGV[1]) else held[i] = 0 end
end
return held
"""
"""Compare and extend: 1 for each lease that was still held by its token."""


class LeaseOutcome(Enum):
    """What a worker is to the generation of an answer."""

    LEADER = auto()
    """It generates; the others wait for its answer."""
    FOLLOWER = auto()
    """Somebody else generates."""
    ALONE = auto()
    """Redis does not answer: it generates without a lease."""


class Leases:
    """The leases that this worker asks for and holds. Without Redis all fails open: every answer is "go alone"."""

    def __init__(self, values: TierLookup, remote: Remote, outbox: WriteBehind, ttl_ms: int) -> None:
        self._values = values
        self._remote = remote
        self._outbox = outbox
        self._ttl_ms = ttl_ms
        self._tokens: dict[str, bytes] = {}

    def __len__(self) -> int:
        """How many are held."""
        return len(self._tokens)

    def holds(self, key: str) -> bool:
        """False too once a lease was lost, from the renewal on that has noticed it."""
        return key in self._tokens

    async def acquire(self, keys: Sequence[str]) -> dict[str, LeaseOutcome | Found]:
        """Ask for the leases on `keys`; what is there already is found instead. One round trip, never raises.

        A lease is held and renewed until `release`.
        """
        answers: dict[str, LeaseOutcome | Found] = {**self._values.held(keys)}
        answers |= {key: LeaseOutcome.LEADER for key in keys if key not in answers and self.holds(key)}
        wanted = list(dict.fromkeys(key for key in keys if key not in answers))
        if wanted:
            answers |= dict.fromkeys(wanted, LeaseOutcome.ALONE)
            answers |= await self._acquire(wanted)
        return answers

    async def look(self, keys: Sequence[str]) -> dict[str, Found | bool]:
        """For those who wait: the value, else whether somebody holds the lease. One round trip, never raises.

        One answer that is late changes nothing for who waits; while the breaker is open nobody is known to hold any.
        """
        answers: dict[str, Found | bool] = {**self._values.held(keys)}
        wanted = list(dict.fromkeys(key for key in keys if key not in answers))
        if not wanted:
            return answers
        leases = [lease_key(key) for key in wanted]
        try:
            values_and_leases = await self._remote.call(lambda client: mget(client, [*wanted, *leases]))
        except Unavailable:
            return answers | dict.fromkeys(wanted, self._remote.answering.passes)
        values, held = values_and_leases[: len(wanted)], values_and_leases[len(wanted) :]
        answers |= {key: lease is not None for key, lease in zip(wanted, held, strict=True)}
        answers |= await self._values.taken_in(wanted, values)
        return answers

    def release(self, key: str) -> None:
        """End a lease, in the background and after the values put before. Does nothing for one that is not held."""
        token = self._tokens.pop(key, None)
        if token is not None:
            self._outbox.release(lease_key(key), token)

    def release_all(self) -> None:
        for key in list(self._tokens):
            self.release(key)

    async def renew(self) -> None:
        """Extend all that are held, in one round trip; those that were lost are forgotten and counted."""
        held = list(self._tokens.items())
        if not held:
            return
        keys = [lease_key(key) for key, _ in held]
        tokens = [token for _, token in held]
        try:
            extended = await self._remote.call(lambda client: self._extend(client, keys, tokens), PATIENCE_S)
        except Unavailable:
            return  # they may still be held when it answers again
        for (key, token), still_held in zip(held, extended, strict=True):
            if not still_held and self._tokens.get(key) == token:
                del self._tokens[key]
                self._remote.count(Failure.LEASE_LOST)

    async def run(self) -> None:
        """Renew for ever."""
        while True:
            await asyncio.sleep(self._ttl_ms / 3000)
            await self.renew()

    async def _extend(self, client: Redis, keys: list[str], tokens: list[bytes]) -> list[int]:
        replies = await client.eval(EXTEND, len(keys), *keys, self._ttl_ms, *tokens)
        return checked(keys, replies)

    async def _acquire(self, keys: list[str]) -> dict[str, LeaseOutcome | Found]:
        tokens = {key: secrets.token_bytes(_TOKEN_BYTES) for key in keys}
        leased = keys if self._remote.takes_writes else []
        given_up = False

        async def operation(client: Redis) -> tuple[list[object], list[bytes | None]]:
            pipe: Pipeline = client.pipeline(transaction=False)
            for key in leased:
                pipe.set(lease_key(key), tokens[key], nx=True, px=self._ttl_ms)
            # After the leases: a leader writes its value before it ends its lease, so whoever gets that lease sees it.
            pipe.eval(READ, len(keys), *keys, MAX_STORED_BYTES)
            *standings, values = await pipe.execute(raise_on_error=False)
            if given_up:
                self._end(tokens)
            return standings, checked(keys, values)

        try:
            standings, values = await self._remote.call(operation)
        except Unavailable:
            given_up = True
            return {}
        if leased:
            self._remote.judge_writes(standings)
        found = await self._values.taken_in(keys, values)
        answers: dict[str, LeaseOutcome | Found] = {}
        for key, standing in zip(leased, standings, strict=True):
            if standing is True and key not in found:
                self._tokens[key] = tokens[key]
                answers[key] = LeaseOutcome.LEADER
            elif standing is True:
                self._end({key: tokens[key]})
            elif standing is None:
                answers[key] = LeaseOutcome.FOLLOWER
        return answers | found

    def _end(self, tokens: dict[str, bytes]) -> None:
        for key, token in tokens.items():
            self._outbox.release(lease_key(key), token)
