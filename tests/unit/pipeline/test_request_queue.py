"""The waiting line: its two bounds, and the two sides that fill and empty it."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.pipeline.request_queue import Chosen, QueuedRequest, RequestQueue
from tests.unit.pipeline._support.line import LIMIT_S, everything, first, names, place, settled


@pytest.mark.parametrize("tokens", [11, 10_000])
async def test_a_request_larger_than_the_line_is_refused(tokens: int) -> None:
    """What could never fit is an error at once, not a wait without end; what just fits gets in."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=4)
    with pytest.raises(ValueError, match=f"{tokens} tokens never fit a line of 10"):
        await line.put(place("huge", tokens))
    assert await line.put(place("just", 10))
    assert line.tokens == 10


async def test_a_full_lane_leaves_the_other_its_room() -> None:
    """Neither by requests, nor by tokens, nor by one that waits to get in."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=3)
    await line.put(place("a", 4))
    await line.put(place("b", 6))
    waiting = asyncio.create_task(line.put(place("c", 1)))
    assert not await settled(waiting)
    assert (line.free_requests(0), line.free_requests(1)) == (0, 3)
    assert await line.put(replace(place("urgent", 9), priority=1))
    assert (line.free_requests(1), line.tokens) == (2, 19)
    line.take(first, block=False)
    async with asyncio.timeout(LIMIT_S):
        assert await waiting
    assert (len(line), line.tokens) == (3, 16)


async def test_free_requests_says_what_may_be_fetched() -> None:
    """Intake asks for as many records as there are places, and for none while the tokens are used up."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=3)
    assert line.free_requests() == 3
    await line.put(place("a", 4))
    assert line.free_requests() == 2
    await line.put(place("b", 6))
    assert line.free_requests() == 0
    line.take(first, block=False)
    assert (line.free_requests(), line.tokens, len(line)) == (2, 6, 1)


@pytest.mark.parametrize(("tokens", "requests"), [(10, 1), (2, 2)], ids=["tokens", "requests"])
async def test_put_waits_for_room(tokens: int, requests: int) -> None:
    """Either bound holds the next request back until the other side takes something."""
    line: RequestQueue[str] = RequestQueue(max_tokens=tokens * requests, max_requests=requests)
    for number in range(requests):
        assert await line.put(place(str(number), tokens))
    late = asyncio.create_task(line.put(place("late", tokens)))
    assert not await settled(late)
    assert names(await asyncio.to_thread(line.take, first, block=True)) == ["0"]
    assert await asyncio.wait_for(late, LIMIT_S)
    assert names(line.take(everything, block=False))[-1] == "late"


async def test_a_cancelled_put_leaves_nothing_behind() -> None:
    """Intake that is stopped while it waits for room has not joined the line, and its tokens are not counted."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=1)
    await line.put(place("a", 5))
    late = asyncio.create_task(line.put(place("late", 5)))
    assert not await settled(late)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    assert names(line.take(everything, block=False)) == ["a"]
    assert (line.tokens, len(line)) == (0, 0)


@pytest.mark.parametrize("fill", [[10], [1, 1]], ids=["tokens used up", "places used up"])
async def test_wait_for_room_returns_how_many_may_be_fetched(fill: list[int]) -> None:
    """With room it returns at once; a full line makes it wait for the other side."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=2)
    assert await line.wait_for_room() == 2
    for tokens in fill:
        await line.put(place("a", tokens))
    waiting = asyncio.create_task(line.wait_for_room())
    assert not await settled(waiting)
    await asyncio.to_thread(line.take, everything, block=False)
    assert await asyncio.wait_for(waiting, LIMIT_S) == 2


async def test_room_wakes_all_who_wait_for_it() -> None:
    """Several tasks wait for room in different ways; none is forgotten when it comes."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=10)
    await line.put(place("full", 10))
    puts = [asyncio.create_task(line.put(place(str(number), 1))) for number in range(5)]
    room = asyncio.create_task(line.wait_for_room())
    assert not await settled(room)
    line.take(everything, block=False)
    assert all(await asyncio.wait_for(asyncio.gather(*puts), LIMIT_S))
    assert await asyncio.wait_for(room, LIMIT_S) > 0


async def test_who_comes_first_gets_room_first() -> None:
    """A large request is not passed over for ever by small ones, which always find room before it does."""
    line: RequestQueue[str] = RequestQueue(max_tokens=4, max_requests=10)
    for number in range(4):
        await line.put(place(str(number), 1))
    large = asyncio.create_task(line.put(place("large", 4)))
    assert not await settled(large)
    small = [asyncio.create_task(line.put(place(f"small {number}", 1))) for number in range(3)]
    for _ in range(4):
        assert not await settled(large)
        line.take(first, block=False)
    assert await asyncio.wait_for(large, LIMIT_S)
    assert names(line.take(first, block=False)) == ["large"]
    assert all(await asyncio.wait_for(asyncio.gather(*small), LIMIT_S))


async def test_remove_if_frees_room_and_returns_what_it_removed() -> None:
    """Requests of a lost partition leave the line, in order, and those behind them move up."""
    line: RequestQueue[str] = RequestQueue(max_tokens=3, max_requests=3)
    for name in ("lost 1", "kept", "lost 2"):
        await line.put(place(name))
    late = asyncio.create_task(line.put(place("late", 2)))
    assert not await settled(late)
    assert names(line.remove_if(lambda one: one.item.startswith("lost"))) == ["lost 1", "lost 2"]
    assert await asyncio.wait_for(late, LIMIT_S)
    assert names(line.take(everything, block=False)) == ["kept", "late"]


@settings(max_examples=80, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=120),
    putters=st.integers(1, 4),
    max_tokens=st.integers(20, 60),
    max_requests=st.integers(1, 8),
    seed=st.integers(),
)
def test_concurrent_sides_keep_the_bounds_and_every_request(
    sizes: list[int], putters: int, max_tokens: int, max_requests: int, seed: int
) -> None:
    """Tasks fill, a thread takes at random, others remove: the bounds always hold, nothing is lost or doubled."""
    asked = [place(str(number), tokens) for number, tokens in enumerate(sizes)]
    out: list[str] = []
    over: list[tuple[int, int]] = []

    def choose(places: Sequence[QueuedRequest[str]]) -> Chosen:
        used = sum(one.tokens for one in places)
        if used > max_tokens or len(places) > max_requests:
            over.append((used, len(places)))
        return draw.sample(range(len(places)), draw.randint(0, len(places))), time.monotonic()

    draw = random.Random(seed)

    async def run() -> None:
        line: RequestQueue[str] = RequestQueue(max_tokens=max_tokens, max_requests=max_requests)

        def empty() -> None:
            while taken := line.take(choose, block=True):
                out.extend(names(taken))

        async def fill(share: list[QueuedRequest[str]]) -> None:
            for one in share:
                await line.wait_for_room()
                assert await line.put(one)
                if one.tokens == 13:
                    out.extend(names(line.remove_if(lambda other: other.tokens == 13)))

        thread = asyncio.create_task(asyncio.to_thread(empty))
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*(fill(asked[number::putters]) for number in range(putters)))
        out.extend(names(line.close()))
        await asyncio.wait_for(thread, LIMIT_S)
        assert (len(line), line.tokens) == (0, 0)

    asyncio.run(run())
    assert not over
    assert sorted(out, key=int) == names(asked)


async def test_who_comes_back_goes_first():
    """A place that left the line for a while is ahead of those that came after it."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=10)
    for name in ("b", "c"):
        await line.put(place(name))
    await line.put(place("a"), first=True)
    assert names(line.take(everything, block=True)) == ["a", "b", "c"]


async def test_what_is_raised_goes_with_the_higher_priority_from_then_on() -> None:
    """It leaves its room to others of the priority that it had, and needs none of that which it gets."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=2)
    for name in ("a", "b"):
        await line.put(place(name, 5))
    await line.put(replace(place("urgent", 10), priority=1))
    line.raise_priority("b", 1)
    assert (line.free_requests(0), line.free_requests(1), line.tokens) == (1, 0, 20)
    assert await line.put(place("c", 5))
    waiting = asyncio.create_task(line.put(replace(place("urgent too", 1), priority=1)))
    assert not await settled(waiting)
    assert [(one.item, one.priority) for one in line.take(everything, block=False)] == [
        ("a", 0), ("b", 1), ("urgent", 1), ("c", 0),
    ]  # fmt: skip
    assert await asyncio.wait_for(waiting, LIMIT_S)
    assert (len(line), line.tokens) == (1, 1)


async def test_what_is_raised_while_it_waits_for_room_gets_that_of_the_higher_priority() -> None:
    """Though others came before it, for which there is still none; those behind it move up."""
    line: RequestQueue[str] = RequestQueue(max_tokens=10, max_requests=10)
    await line.put(place("full", 10))
    puts = [asyncio.create_task(line.put(place(name, 1))) for name in ("a", "b", "c")]
    assert not any([await settled(each) for each in puts])
    line.raise_priority("b", 1)
    line.raise_priority("unknown", 1)
    assert [await settled(each) for each in puts] == [False, True, False]
    assert [(one.item, one.priority) for one in line.take(everything, block=False)] == [("full", 0), ("b", 1)]
    assert all(await asyncio.wait_for(asyncio.gather(puts[0], puts[2]), LIMIT_S))
    assert names(line.take(everything, block=False)) == ["a", "c"]


async def test_the_next_is_let_in_when_one_gives_up_waiting_for_room() -> None:
    """A large one that is cancelled does not hold up a small one for which there is room."""
    line: RequestQueue[str] = RequestQueue(max_tokens=4, max_requests=10)
    await line.put(place("a", 3))
    large, small = (asyncio.create_task(line.put(place(name, size))) for name, size in (("large", 4), ("small", 1)))
    assert not await settled(small)
    large.cancel()
    assert await asyncio.wait_for(small, LIMIT_S)
