"""Limits on work under way: the number of things at once, and the time without progress."""

import asyncio
from contextlib import aclosing

import pytest

from pelton.producers.flow import ProgressTimeout, as_finished


class Work:
    """Jobs that end when a test lets them."""

    def __init__(self) -> None:
        self.gates: list[asyncio.Future[int]] = []
        self.cancelled = 0
        self._another = asyncio.Event()

    async def job(self) -> int:
        gate = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        self._another.set()
        try:
            return await gate
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def jobs(self, count: int):
        for _ in range(count):
            yield self.job()

    async def started(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.gates) < count:
                self._another.clear()
                await self._another.wait()


async def test_results_come_as_they_finish():
    """Not in the order of starting; and all of them."""
    work = Work()
    async with aclosing(as_finished(work.jobs(3), limit=3)) as results:
        first = asyncio.ensure_future(anext(results))
        await work.started(3)
        work.gates[2].set_result(2)
        assert await first == 2
        work.gates[0].set_result(0)
        work.gates[1].set_result(1)
        assert [result async for result in results] == [0, 1]


async def test_a_result_not_taken_keeps_its_place():
    """The next job starts when a result has been taken, not when it is there: memory stays flat."""
    work = Work()
    async with aclosing(as_finished(work.jobs(10), limit=2)) as results:
        first = asyncio.ensure_future(anext(results))
        await work.started(2)
        for gate in work.gates:
            gate.set_result(0)
        await first
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(work.gates) == 2
        second = asyncio.ensure_future(anext(results))
        await work.started(3)
        await second
        assert not work.cancelled


async def test_the_first_failure_ends_it():
    """The rest is cancelled, and nobody's exception is lost or logged."""
    work = Work()
    async with aclosing(as_finished(work.jobs(3), limit=3)) as results:
        first = asyncio.ensure_future(anext(results))
        await work.started(3)
        work.gates[1].set_exception(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            await first
    assert work.cancelled == 2


async def test_a_failing_source_ends_it():
    """An exception of the one who names the jobs comes out as it is."""

    async def jobs():
        yield asyncio.sleep(0, "one")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        [result async for result in as_finished(jobs(), limit=2)]


async def test_nothing_to_do():
    """An empty source is an empty result."""
    assert [result async for result in as_finished(Work().jobs(0), limit=1)] == []


async def test_a_limit_that_allows_nothing():
    """Refused instead of waiting for ever."""
    with pytest.raises(ValueError, match="at least one"):
        await anext(as_finished(Work().jobs(1), limit=0))


async def test_patience_lasts_while_something_moves():
    """Progress starts the time over; without any it ends."""
    moves = 0

    async def move_then_stall() -> None:
        nonlocal moves
        async with ProgressTimeout(0.1) as patience:
            while moves < 5:
                await asyncio.sleep(0.03)
                patience.progress()
                moves += 1
            await asyncio.sleep(5)

    with pytest.raises(TimeoutError):
        await move_then_stall()
    assert moves == 5


async def test_patience_without_end():
    """None waits as long as it takes: progress sets no time limit either."""
    async with ProgressTimeout(None) as patience:
        patience.progress()
        assert patience._timeout.when() is None
