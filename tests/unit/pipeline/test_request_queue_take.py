"""The inference thread's side of the waiting line: taking, waiting for the right moment, and closing."""

import asyncio
import math
import threading
import time
from collections.abc import Sequence

import pytest

from pelton.pipeline.request_queue import Chosen, QueuedRequest, RequestQueue
from tests.unit.pipeline._support.line import LIMIT_S, everything, first, names, place, settled


class Hesitant:
    """Picks nothing until `picks` is set, and says when it was asked. Called on the taking thread."""

    def __init__(self, look_again: float | None = None) -> None:
        self.picks = False
        self.look_again = look_again
        self.asked = threading.Semaphore(0)

    def __call__(self, places: Sequence[QueuedRequest[str]]) -> Chosen:
        self.asked.release()
        return (range(len(places)) if self.picks else (), self.look_again)

    async def was_asked(self) -> None:
        assert await asyncio.to_thread(self.asked.acquire, timeout=LIMIT_S)


async def taking(line: RequestQueue[str], choose: Hesitant) -> asyncio.Task[list[QueuedRequest[str]]]:
    """A `take` on another thread that has looked at the line once and now waits."""
    task = asyncio.create_task(asyncio.to_thread(line.take, choose, block=True))
    await choose.was_asked()
    return task


async def test_take_returns_what_was_chosen_in_the_order_of_the_line() -> None:
    """The chooser picks by index, in any order and twice if it likes; the rest stays as it was."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=10)
    for name in "abcdefghi":
        await line.put(place(name))
    assert names(line.take(lambda _: ((8, 1, 8), None), block=False)) == ["b", "i"]
    assert names(line.take(everything, block=False)) == list("acdefgh")


async def test_without_block_nothing_chosen_is_an_empty_list_at_once() -> None:
    """A running engine asks between steps and must not be held up, by an empty line or by a picky choice."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=10)
    assert line.take(first, block=False) == []
    await line.put(place("a"))
    assert line.take(lambda _: ((), time.monotonic() + LIMIT_S), block=False) == []
    assert len(line) == 1


async def test_blocked_take_wakes_for_a_new_request() -> None:
    """An idle engine starts when something arrives, however far away its next look was."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=10)
    await line.put(place("a"))
    choose = Hesitant(time.monotonic() + 10 * LIMIT_S)
    take = await taking(line, choose)
    choose.picks = True
    await line.put(place("b"))
    assert names(await asyncio.wait_for(take, LIMIT_S)) == ["a", "b"]


async def test_take_looks_again_at_the_moment_the_chooser_named() -> None:
    """A batch that waits for company is looked at when its wait is over: not earlier, not at the next arrival."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=10)
    await line.put(place("a"))
    moment = time.monotonic() + 0.05

    def choose(_: Sequence[QueuedRequest[str]]) -> Chosen:
        looks.append(time.monotonic())
        return ((0,), None) if looks[-1] >= moment else ((), moment)

    looks: list[float] = []
    await asyncio.wait_for(asyncio.to_thread(line.take, choose, block=True), LIMIT_S)
    assert len(looks) <= 3, "one look, one at the moment, at most one for a clock that runs fine"
    assert looks[-1] >= moment


@pytest.mark.parametrize("moment", [math.inf, 1e15, None])
async def test_a_moment_too_far_to_wait_for_is_never(moment: float | None) -> None:
    """An unbounded wait, from a setting or a deadline in the far future, must not raise in the inference thread."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=10)
    await line.put(place("a"))
    choose = Hesitant(moment)
    take = await taking(line, choose)
    choose.picks = True
    await line.put(place("b"))
    assert names(await asyncio.wait_for(take, LIMIT_S)) == ["a", "b"]


async def test_a_moment_in_the_past_is_now() -> None:
    """A chooser that is late is asked again at once."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=10)
    await line.put(place("a"))
    choose = Hesitant(0.0)
    take = await taking(line, choose)
    await choose.was_asked()
    choose.picks = True
    assert names(await asyncio.wait_for(take, LIMIT_S)) == ["a"]


async def test_a_chooser_that_fails_leaves_the_line_usable() -> None:
    """The exception reaches the taker, nothing was removed, and the lock is free again."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=10)
    await line.put(place("a"))
    with pytest.raises(ZeroDivisionError):
        line.take(lambda places: ((len(places) // 0,), None), block=True)
    with pytest.raises(IndexError):
        line.take(lambda _: ((0, 7), None), block=True)
    assert line.tokens == 1
    assert names(await asyncio.to_thread(line.take, first, block=True)) == ["a"]


async def test_close_wakes_a_blocked_take_and_a_blocked_put() -> None:
    """Closing ends both waits, gives back what still waited, and lets nothing in or out afterwards."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=1)
    await line.put(place("a"))
    take = await taking(line, Hesitant())
    put = asyncio.create_task(line.put(place("late")))
    room = asyncio.create_task(line.wait_for_room())
    assert not await settled(put)
    assert names(line.close()) == ["a"]
    assert await asyncio.wait_for(take, LIMIT_S) == []
    assert not await asyncio.wait_for(put, LIMIT_S)
    await asyncio.wait_for(room, LIMIT_S)
    assert not await line.put(place("later still"))
    assert line.take(everything, block=True) == []
    assert (len(line), line.tokens) == (0, 0)


async def test_close_wakes_a_take_on_an_empty_line() -> None:
    """An idle inference thread ends with its worker."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=1)
    take = asyncio.create_task(asyncio.to_thread(line.take, everything, block=True))
    await asyncio.sleep(0)
    assert line.close() == []
    assert await asyncio.wait_for(take, LIMIT_S) == []


async def test_closing_twice_gives_nothing_the_second_time() -> None:
    """What waited is handed back once: twice would be two replies."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=1)
    await line.put(place("a"))
    assert names(line.close()) == ["a"]
    assert line.close() == []


async def test_a_poke_has_the_line_chosen_from_again():
    """What decides about a place may change outside the line."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=10)
    await line.put(place("a"))
    choose = Hesitant()
    task = await taking(line, choose)
    choose.picks = True
    line.notify()
    assert names(await asyncio.wait_for(task, LIMIT_S)) == ["a"]
