"""Sessions in Redis or Valkey: histories, written turn by turn, and only by the partition's rightful owner.

    pelton:s1:<tenant>:<session>                  hash: `v` names the record of the last turn, `d` is the whole history
    pelton:fence:<group>:<topic>-<partition>      the token of whoever took the partition over last

Three conditions guard every write, checked in one script. *The fence*: an owner puts a token of its own there before it
reads any history, so that a former owner, frozen past its session and thawed, is refused from then on; what that one
wrote before is there to be read. *The record*: a turn that was stored already stays as it is, and its answer is the
one to give. *The version*: a history that has moved on since it was read is not overwritten. One that is gone is:
its time to live ran out, or Redis lost it, and the owner has it whole.
"""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from pelton.cache import value_format
from pelton.cache.causes import cause_of
from pelton.cache.connection import connect, round_trip
from pelton.cache.sessions import scripts
from pelton.cache.sessions.history import MAX_HISTORY_BYTES, History, TooLong, Turn, packed
from pelton.cache.value_format import ValueFormat
from pelton.pipeline.outside_text import shown
from pelton.pipeline.settings.cache import CacheSettings, SessionSettings
from pelton.pipeline.sparse_log import SparseLog

log = logging.getLogger(__name__)

OPERATION_S = 1.0
"""How long one round trip may take; what must be done is tried again by the caller."""


class StoreFailure(StrEnum):
    """Why there is no history, or no turn was stored."""

    UNAVAILABLE = "unavailable"
    """Redis did not answer or would not do it. Of a store the outcome is unknown."""
    DAMAGED = "damaged"
    """What is there cannot be read. It is left as it is: an empty history would be a wrong one."""
    FENCED = "fenced"
    """Somebody has taken the partition over, or Redis has lost the fence: take it anew, if the partition is ours."""
    TOO_LONG = "too long"
    """The turn alone is more than is kept of a session. Nothing was written."""
    MOVED = "moved"
    """The history is another by now: load it again."""


def session_key(tenant: str, session: str) -> str:
    return f"pelton:s1:{quote(tenant, safe='')}:{quote(session, safe='')}"


@dataclass(frozen=True, slots=True)
class Fence:
    """One stretch of owning a partition."""

    key: str
    token: str

    @classmethod
    def fresh(cls, group: str, topic: str, partition: int) -> "Fence":
        return cls(f"pelton:fence:{group}:{topic}-{partition}", secrets.token_hex(8))


@dataclass(frozen=True, slots=True)
class Loaded:
    """A history as it was read. `version` names the record of its last turn, "" where there was none."""

    version: str = ""
    history: History = field(default_factory=History)


@dataclass(frozen=True, slots=True)
class Write:
    """A turn to store: the last of `history`, which is to take the place of what was loaded."""

    key: str
    fence: Fence
    loaded: Loaded
    history: History

    @property
    def turn(self) -> Turn:
        return self.history.turns[-1]


class SessionStore:
    """Never raises because Redis is slow, gone or full, and tries nothing twice. Lives on one event loop."""

    def __init__(self, cache: CacheSettings, session: SessionSettings) -> None:
        """Where no server is set, all is `UNAVAILABLE`."""
        own = cache if session.redis_url is None else cache.model_copy(update={"redis_url": session.redis_url})
        self._cache = own
        self._redis: Redis | None = connect(own, timeout_s=OPERATION_S) if own.redis_url else None
        self._ttl_ms = session.ttl_s * 1000
        self._format = ValueFormat.of(cache, MAX_HISTORY_BYTES)
        self._unreachable = SparseLog()
        self.refused = False
        """Whether Redis last answered with a refusal that will not pass by itself."""

    @property
    def there(self) -> bool:
        """Whether a server is set."""
        return self._redis is not None

    async def close(self) -> None:
        if self._redis is not None:
            await self._redis.aclose()

    async def raise_fences(self, fences: Sequence[Fence]) -> list[bool]:
        """Shut out whoever had the partitions before; whether it was done. If not, the next try takes a new fence."""
        answers = await self._round_trip([("SET", fence.key, fence.token, "PX", self._ttl_ms) for fence in fences])
        return [_is_raised(fence, answer) for fence, answer in zip(fences, answers, strict=True)]

    async def load(self, keys: Sequence[str]) -> list[Loaded | StoreFailure]:
        """One round trip; a session that is not there has an empty history."""
        answers = await self._round_trip([("EVAL", scripts.LOAD, 1, key, self._format.most_stored) for key in keys])
        return await asyncio.to_thread(lambda: list(map(self._loaded, keys, answers)))

    async def store(self, writes: Sequence[Write]) -> list[Turn | StoreFailure]:
        """One round trip. The turn that is stored now is given back: a former one where there was one already."""
        limits = (self._ttl_ms, self._format.most_stored)
        answers = await self._write(scripts.STORE, writes, [write.history for write in writes], *limits)
        return await asyncio.to_thread(lambda: list(map(self._stored, writes, answers)))

    async def withdraw(self, writes: Sequence[Write]) -> list[StoreFailure | None]:
        """Make it so that these turns were never stored, whatever became of storing them; None where that is certain.

        For that their fences must be newer than the ones they were stored under: a store may still be on its way.
        """
        answers = await self._write(scripts.WITHDRAW, writes, [write.loaded.history for write in writes])
        return list(map(_withdrawn, writes, answers))

    async def _write(
        self, script: str, writes: Sequence[Write], histories: Sequence[History], *limits: int
    ) -> list[Any]:
        """The script's answer for each, or the trouble that it could not be run for."""
        expires_ms = value_format.now_ms() + self._ttl_ms
        data = await asyncio.to_thread(
            lambda: [self._packed(write.key, it, expires_ms) for write, it in zip(writes, histories, strict=True)]
        )
        sound = [index for index, it in enumerate(data) if isinstance(it, bytes)]
        answers = await self._round_trip([_script(script, writes[index], data[index], *limits) for index in sound])
        by_index = dict(zip(sound, answers, strict=True))
        return [by_index.get(index, it) for index, it in enumerate(data)]

    def _packed(self, key: str, history: History, expires_ms: int) -> bytes | StoreFailure:
        try:
            return self._format.encode(key, packed(history), expires_ms)
        except TooLong as error:
            log.warning("%s cannot go on: %s", key, error)
            return StoreFailure.TOO_LONG

    async def _round_trip(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answers, errors among them; `UNAVAILABLE` in place of each when there are none."""
        if self._redis is None:
            return [StoreFailure.UNAVAILABLE] * len(commands)
        try:
            async with round_trip(self._redis, OPERATION_S) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                answers = await pipe.execute(raise_on_error=False)
        except Exception as error:  # noqa: BLE001  # what answers may be no Redis, and make the client raise anything
            self._note_refusals([error])
            if count := self._unreachable.due():
                reason = shown(cause_of(self._cache, error).reason)
                log.warning("sessions cannot be reached (%d times), trying again: Redis %s", count, reason)
            return [StoreFailure.UNAVAILABLE] * len(commands)
        self._note_refusals([answer for answer in answers if isinstance(answer, Exception)])
        return answers

    def _note_refusals(self, errors: Sequence[Exception]) -> None:
        self.refused = any(not cause_of(self._cache, error).passing for error in errors)

    def _loaded(self, key: str, answer: Any) -> Loaded | StoreFailure:
        try:
            match answer:
                case [None, None]:
                    return Loaded()
                case [bytes(version), data]:
                    return Loaded(version.decode(), self._history(key, data))
        except ValueError as error:
            return _damaged(key, error)
        return _trouble(key, answer)

    def _stored(self, write: Write, answer: Any) -> Turn | StoreFailure:
        try:
            match answer:
                case [b"stored"]:
                    return write.turn
                case [b"known", data]:
                    return _known(write, self._history(write.key, data))
        except ValueError as error:
            return _damaged(write.key, error)
        return _trouble(write.key, answer)

    def _history(self, key: str, data: bytes | None) -> History:
        value, _ = self._format.decode(key, data or b"")
        return History.from_json(value)


def _script(script: str, write: Write, *more: Any) -> tuple[Any, ...]:
    # EVAL and not EVALSHA: a Redis that was restarted knows no scripts, and these are short.
    keys = (write.key, write.fence.key)
    return ("EVAL", script, len(keys), *keys, write.fence.token, write.turn.record, write.loaded.version, *more)


def _is_raised(fence: Fence, answer: Any) -> bool:
    done = answer is True  # the client's word for OK
    if not done:
        _trouble(fence.key, answer)
    return done


def _withdrawn(write: Write, answer: Any) -> StoreFailure | None:
    return None if answer == [b"withdrawn"] else _trouble(write.key, answer)


def _known(write: Write, history: History) -> Turn:
    turn = history.turn(write.turn.record)
    if turn is None:
        raise value_format.Damaged("the turn that it names as its last is not in it")
    return turn


def _trouble(key: str, answer: Any) -> StoreFailure:
    match answer:
        case StoreFailure():
            return answer
        case [b"fenced"]:
            return StoreFailure.FENCED
        case [b"moved"]:
            return StoreFailure.MOVED
        case [b"too long"]:
            return _damaged(key, ValueError("it is longer than any history that is ever stored"))
        case ResponseError() if "WRONGTYPE" in str(answer):
            return _damaged(key, answer)
    log.warning("Redis refuses what is asked of %s: %s", key, shown(repr(answer)))
    return StoreFailure.UNAVAILABLE


def _damaged(key: str, error: Exception) -> StoreFailure:
    log.error("%s is damaged and left as it is; delete the key to begin the session anew: %s", key, shown(str(error)))
    return StoreFailure.DAMAGED
