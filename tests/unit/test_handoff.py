"""The hand-off from threads to the loop."""

import asyncio
import threading

import pytest

from pipeline.handoff import Handoff, HandoffClosed


async def test_everything_arrives_once_and_in_order_from_a_thread():
    """What a thread puts is read on the loop in the same order, however batches fall; a full queue only waits."""
    handoff: Handoff[int] = Handoff(4)

    def write() -> None:
        for number in range(100):
            handoff.put(number)
        asyncio.run_coroutine_threadsafe(_close(handoff), loop)

    loop = asyncio.get_running_loop()
    threading.Thread(target=write).start()
    seen = [number async for batch in handoff.batches(0.001) for number in batch]
    assert seen == list(range(100))


async def _close(handoff: Handoff[int]) -> None:
    handoff.close()


async def test_a_batch_gathers_for_its_linger():
    """Items that come within the linger of the first are one batch."""
    handoff: Handoff[int] = Handoff(100)
    batches = handoff.batches(0.2)
    await handoff.put_async(1)
    asyncio.get_running_loop().call_later(0.05, asyncio.ensure_future, handoff.put_async(2))
    assert await anext(batches) == [1, 2]
    await batches.aclose()


async def test_a_half_full_queue_does_not_linger():
    """A busy queue is read before it fills up, however long the linger."""
    handoff: Handoff[int] = Handoff(4)
    for number in range(3):
        await handoff.put_async(number)
    batches = handoff.batches(60)
    async with asyncio.timeout(5):
        assert await anext(batches) == [0, 1, 2]
    await batches.aclose()


async def test_flush_waits_until_what_came_before_is_dealt_with():
    """A flush ends when the batch with everything put before it is done, not when it is merely read."""
    handoff: Handoff[int] = Handoff(10)
    batches = handoff.batches(0)
    await handoff.put_async(1)
    flushed = asyncio.create_task(handoff.flush())
    await asyncio.sleep(0)
    assert await anext(batches) == [1]
    assert not flushed.done()
    handoff.close()
    with pytest.raises(StopAsyncIteration):
        await anext(batches)
    await asyncio.wait_for(flushed, 1)


async def test_flush_of_an_empty_and_of_a_closed_handoff_returns():
    """Nothing to wait for is no reason to wait."""
    handoff: Handoff[int] = Handoff(10)
    batches = handoff.batches(0)
    reading = asyncio.create_task(anext(batches))
    await asyncio.wait_for(handoff.flush(), 1)
    handoff.close()
    await asyncio.wait_for(handoff.flush(), 1)
    with pytest.raises(StopAsyncIteration):
        await reading


async def test_closing_refuses_writers_and_lets_the_reader_finish():
    """After close nothing gets in, from loop or thread; what is inside is still read."""
    handoff: Handoff[int] = Handoff(10)
    await handoff.put_async(1)
    handoff.close()
    with pytest.raises(HandoffClosed):
        await handoff.put_async(2)
    with pytest.raises(HandoffClosed):
        await asyncio.to_thread(handoff.put, 3)
    assert [batch async for batch in handoff.batches(0)] == [[1]]


async def test_closing_releases_a_writer_that_waits_for_room():
    """A thread held up by a full queue is told that nobody reads any more."""
    handoff: Handoff[int] = Handoff(1)
    await handoff.put_async(1)
    waiting = asyncio.create_task(asyncio.to_thread(handoff.put, 2))
    await asyncio.sleep(0.05)
    handoff.close()
    with pytest.raises(HandoffClosed):
        await asyncio.wait_for(waiting, 2)


async def test_many_at_once_wait_for_room_only_where_there_is_none():
    """All arrive in order, more than the queue holds; a closed one takes none."""
    handoff: Handoff[int] = Handoff(4)
    putting = asyncio.create_task(handoff.put_all(range(10)))
    seen: list[int] = []
    async for batch in handoff.batches(0):
        seen += batch
        if len(seen) == 10:
            break
    await putting
    assert seen == list(range(10))
    handoff.close()
    with pytest.raises(HandoffClosed):
        await handoff.put_all([1])
