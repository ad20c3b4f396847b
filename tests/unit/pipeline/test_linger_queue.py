"""The hand-off from threads to the loop."""

import asyncio
import threading

import pytest

from pelton.pipeline.linger_queue import LingerQueue, LingerQueueClosed


async def test_everything_arrives_once_and_in_order_from_a_thread():
    """What a thread puts is read on the loop in the same order, however batches fall; a full queue only waits."""
    handoff: LingerQueue[int] = LingerQueue(4, lambda _: 0.001)

    def write() -> None:
        for number in range(100):
            handoff.put(number)
        asyncio.run_coroutine_threadsafe(_close(handoff), loop)

    loop = asyncio.get_running_loop()
    threading.Thread(target=write).start()
    seen = [number async for batch in handoff.batches() for number in batch]
    assert seen == list(range(100))


async def test_several_threads_wake_the_reader_once_for_a_batch(monkeypatch):
    """Nobody's item is left behind, though only the first of a batch, or a more urgent one, wakes the loop for it."""
    handoff: LingerQueue[int] = LingerQueue(10_000, lambda _: 0.01)
    loop = asyncio.get_running_loop()
    woken: list[object] = []
    wake = loop.call_soon_threadsafe

    def noted(callback, *arguments, **options):
        woken.extend([callback] if callback == handoff._bring_forward else [])
        return wake(callback, *arguments, **options)

    monkeypatch.setattr(loop, "call_soon_threadsafe", noted)

    def write() -> None:
        for number in range(500):
            handoff.put(number)

    writing = asyncio.gather(*(asyncio.to_thread(write) for _ in range(4)))
    seen: list[int] = []
    async with asyncio.timeout(20):
        async for batch in handoff.batches():
            seen += batch
            if len(seen) == 2_000:
                break
    await writing
    assert sorted(seen) == sorted([*range(500)] * 4)
    assert len(woken) < 500


async def _close(handoff: LingerQueue[int]) -> None:
    handoff.close()


async def test_a_batch_gathers_while_its_items_are_patient():
    """Items that come while the first may still wait are one batch."""
    handoff: LingerQueue[int] = LingerQueue(100, lambda _: 0.2)
    batches = handoff.batches()
    await handoff.put_async(1)
    asyncio.get_running_loop().call_later(0.05, asyncio.ensure_future, handoff.put_async(2))
    assert await anext(batches) == [1, 2]
    await batches.aclose()


async def test_a_half_full_queue_does_not_wait():
    """A busy queue is read before it fills up, however patient its items."""
    handoff: LingerQueue[int] = LingerQueue(4, lambda _: 60)
    batches = handoff.batches()
    reading = asyncio.create_task(anext(batches))
    await asyncio.to_thread(handoff.put, 0)
    assert not (await asyncio.wait([reading], timeout=0.05))[0]
    await handoff.put_all([1, 2])
    async with asyncio.timeout(5):
        assert await reading == [0, 1, 2]
    await batches.aclose()


@pytest.mark.parametrize("thread", [True, False])
async def test_an_impatient_item_takes_the_others_along(thread):
    """The batch goes when the first of its items must, be it the last that came; the next one is patient again."""
    handoff: LingerQueue[int] = LingerQueue(100, lambda item: 60 if item < 10 else 0)
    batches = handoff.batches()
    for patient, impatient in ((0, 10), (1, 11)):
        reading = asyncio.create_task(anext(batches))
        await asyncio.to_thread(handoff.put, patient)
        assert not (await asyncio.wait([reading], timeout=0.05))[0]
        if thread:
            await asyncio.to_thread(handoff.put, impatient)
        else:
            await handoff.put_async(impatient)
        assert await asyncio.wait_for(reading, 5) == [patient, impatient]
    await batches.aclose()


@pytest.mark.parametrize("closes", [True, False])
async def test_nothing_is_waited_for_when_flushed_or_closed(closes):
    """Patience ends when somebody waits for what came before, or nothing more can come."""
    handoff: LingerQueue[int] = LingerQueue(100, lambda _: 60)
    batches = handoff.batches()
    reading = asyncio.create_task(anext(batches))
    await handoff.put_async(1)
    await asyncio.sleep(0)
    flushing = asyncio.create_task(handoff.flush())
    if closes:
        handoff.close()
    assert await asyncio.wait_for(reading, 5) == [1]
    await batches.aclose()
    flushing.cancel()


async def test_flush_waits_until_what_came_before_is_dealt_with():
    """A flush ends when the batch with everything put before it is done, not when it is merely read."""
    handoff: LingerQueue[int] = LingerQueue(10)
    batches = handoff.batches()
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
    handoff: LingerQueue[int] = LingerQueue(10)
    batches = handoff.batches()
    reading = asyncio.create_task(anext(batches))
    await asyncio.wait_for(handoff.flush(), 1)
    handoff.close()
    await asyncio.wait_for(handoff.flush(), 1)
    with pytest.raises(StopAsyncIteration):
        await reading


async def test_closing_refuses_writers_and_lets_the_reader_finish():
    """After close nothing gets in, from loop or thread; what is inside is still read."""
    handoff: LingerQueue[int] = LingerQueue(10)
    await handoff.put_async(1)
    handoff.close()
    with pytest.raises(LingerQueueClosed):
        await handoff.put_async(2)
    with pytest.raises(LingerQueueClosed):
        await asyncio.to_thread(handoff.put, 3)
    assert [batch async for batch in handoff.batches()] == [[1]]


async def test_closing_releases_a_writer_that_waits_for_room():
    """A thread held up by a full queue is told that nobody reads any more."""
    handoff: LingerQueue[int] = LingerQueue(1)
    await handoff.put_async(1)
    waiting = asyncio.create_task(asyncio.to_thread(handoff.put, 2))
    async with asyncio.timeout(5):
        while not handoff._queue._sync_not_full_waiting:  # noqa: ASYNC110  # a thread that waits has no event
            await asyncio.sleep(0.001)
    handoff.close()
    with pytest.raises(LingerQueueClosed):
        await asyncio.wait_for(waiting, 2)


async def test_many_at_once_wait_for_room_only_where_there_is_none():
    """All arrive in order, more than the queue holds; a closed one takes none."""
    handoff: LingerQueue[int] = LingerQueue(4)
    putting = asyncio.create_task(handoff.put_all(range(10)))
    seen: list[int] = []
    async for batch in handoff.batches():
        seen += batch
        if len(seen) == 10:
            break
    await putting
    assert seen == list(range(10))
    handoff.close()
    with pytest.raises(LingerQueueClosed):
        await handoff.put_all([1])
