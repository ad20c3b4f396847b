"""What the tests of sessions have in common: deliveries, answers, and a Redis that can be told to be away."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import orjson

from pelton.cache.sessions.history import History, Turn
from pelton.cache.sessions.store import Fence, Loaded, StoreFailure, Write
from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.wire.chat import Message
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.pipeline.wire.headers import ReplyPolicy, read_envelope
from pelton.pipeline.wire.records import OutgoingRecord, RequestRecord, Source
from pelton.workers.requests import CacheHit, CacheKeys, Delivery, OutgoingReply

POLICY = ReplyPolicy("replies")
TRACKERS = [OffsetTracker(), OffsetTracker()]
"""Of the partitions, unless a test is about owning them."""


def delivery(  # noqa: PLR0913  # what may differ between two records, each by name
    offset: int,
    session: str = "s",
    *,
    partition: int = 0,
    tracker: OffsetTracker | None = None,
    body: bytes = b"",
    fetched_at: float = 0.0,
) -> Delivery:
    """A record of a session."""
    source = Source("requests", partition, offset)
    headers = [("pelton-session", session.encode())] if session else []
    record = RequestRecord(source, session.encode(), body, headers, 1_000 + offset, 0)
    envelope = read_envelope(source, headers, POLICY, record.key)
    return Delivery(record, envelope, tracker or TRACKERS[partition], fetched_at, 0.0)


def user(text: str) -> Message:
    return Message(role="user", content=text)


def answer(text: str) -> bytes:
    return orjson.dumps({"choices": [{"message": {"content": text}, "logprobs": None}], "usage": {}})


def outgoing(one: Delivery, text: str = "answer") -> OutgoingReply:
    """An answer, packed."""
    ending = CacheHit(one, CacheKeys(), answer(text), CacheOutcome.MISS)
    return OutgoingReply(ending, (OutgoingRecord("replies", answer(text), b"", []),), answer(text))


@dataclass
class FakeStore:
    """Keeps histories as the real one does, in memory."""

    there: bool = True
    away: bool = False
    refused: bool = False
    on_store: Callable[[], None] = lambda: None
    """Called when turns are stored, before they are."""
    forgetful: bool = False
    """Does what it is told and says nothing."""
    fences: dict[str, str] = field(default_factory=dict)
    records: dict[str, Loaded] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    loads: int = 0

    async def raise_fences(self, fences: Sequence[Fence]) -> list[bool]:
        await asyncio.sleep(0)
        if not self.away:
            self.fences.update((fence.key, fence.token) for fence in fences)
        return [not self.away] * len(fences)

    async def load(self, keys: Sequence[str]) -> list[Loaded | StoreFailure]:
        await asyncio.sleep(0)
        self.loads += 1
        return [self._load(key) for key in keys]

    async def store(self, writes: Sequence[Write]) -> list[Turn | StoreFailure]:
        await asyncio.sleep(0)
        self.on_store()
        outcomes = [self._store(write) for write in writes]
        return [StoreFailure.UNAVAILABLE] * len(writes) if self.forgetful else outcomes

    async def withdraw(self, writes: Sequence[Write]) -> list[StoreFailure | None]:
        await asyncio.sleep(0)
        return [self._withdraw(write) for write in writes]

    def history(self, key: str) -> History:
        return self.records.get(key, Loaded()).history

    def _load(self, key: str) -> Loaded | StoreFailure:
        if self.away:
            return StoreFailure.UNAVAILABLE
        return StoreFailure.DAMAGED if key in self.damaged else self.records.get(key, Loaded())

    def _store(self, write: Write) -> Turn | StoreFailure:
        there = self.records.get(write.key)
        if self.away:
            return StoreFailure.UNAVAILABLE
        if self.fences.get(write.fence.key) != write.fence.token:
            return StoreFailure.FENCED
        if there is not None and there.version == write.turn.record:
            return there.history.turns[-1]
        if there is not None and there.version != write.loaded.version:
            return StoreFailure.MOVED
        self.records[write.key] = Loaded(write.turn.record, write.history)
        return write.turn

    def _withdraw(self, write: Write) -> StoreFailure | None:
        there = self.records.get(write.key)
        if self.away:
            return StoreFailure.UNAVAILABLE
        if self.fences.get(write.fence.key) != write.fence.token:
            return StoreFailure.FENCED
        if there is not None and there.version == write.turn.record:
            self.records[write.key] = write.loaded
        return None
