"""The router without a broker: who gets which reply, and what those get whose reply cannot come."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from pelton.producers.errors import RepliesUnreadable
from pelton.producers.replies import Reply
from pelton.producers.reply_router import ReplyRouter


class Source:
    """Gives out the batches that a test puts in; an exception put in is raised."""

    def __init__(self) -> None:
        self._batches: asyncio.Queue[Sequence[Reply] | Exception] = asyncio.Queue()

    def put(self, batch: Sequence[Reply] | Exception) -> None:
        self._batches.put_nowait(batch)

    async def batches(self) -> AsyncIterator[Sequence[Reply]]:
        while True:
            batch = await self._batches.get()
            if isinstance(batch, Exception):
                raise batch
            yield batch


@asynccontextmanager
async def routing():
    source = Source()
    router = ReplyRouter(source)
    router.start()
    yield source, router
    await router.stop()


async def test_each_gets_its_own():
    """Replies find their waiters in any order, past strangers' replies, and a repeated one changes nothing."""
    async with routing() as (source, router):
        one, two = router.expect(b"1"), router.expect(b"2")
        source.put([Reply(b"?", b"x"), Reply(b"2", b"two"), Reply(b"", b"x"), Reply(b"2", b"again")])
        source.put([Reply(b"2", b"again"), Reply(b"1", b"one")])
        assert (await one).value == b"one"
        assert (await two).value == b"two"


async def test_a_dead_reader_fails_all_who_wait():
    """Nobody hangs: those who wait now and those who come later hear why."""
    async with routing() as (source, router):
        waiting = [router.expect(b"1"), router.expect(b"2")]
        source.put(RuntimeError("the partition is on fire"))
        for future in waiting:
            with pytest.raises(RepliesUnreadable, match="on fire"):
                await future
        with pytest.raises(RepliesUnreadable, match="on fire"):
            router.expect(b"3")


async def test_stopping_fails_those_who_wait():
    """Also those the reader has not disappointed."""
    async with routing() as (_, router):
        future = router.expect(b"1")
    with pytest.raises(RepliesUnreadable, match="closed"):
        await future
    with pytest.raises(RepliesUnreadable, match="closed"):
        router.expect(b"2")


async def test_who_gives_up_is_forgotten():
    """A cancelled wait leaves nothing behind, and its reply, when it comes, disturbs nobody."""
    async with routing() as (source, router):
        router.expect(b"1").cancel()
        other = router.expect(b"2")
        source.put([Reply(b"1", b"one"), Reply(b"2", b"two")])
        await other
        assert not router._waiting


async def test_an_id_is_waited_for_once():
    """Two waits under one id would make one of them hang."""
    async with routing() as (_, router):
        router.expect(b"1")
        with pytest.raises(ValueError, match="already"):
            router.expect(b"1")
