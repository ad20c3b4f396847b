"""Quotas across workers: exact through edges of windows, deaths and outages."""

import asyncio
import json
import logging
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from pelton.cache.quotas.account import Ask
from pelton.cache.quotas.belief import Timing
from pelton.cache.quotas.script import BODY
from pelton.cache.quotas.store import QuotaStore
from pelton.cache.quotas.window import Window
from pelton.pipeline.settings.cache import CacheSettings
from pelton.pipeline.settings.quota import QuotaSettings
from pelton.stack.valkey import ValkeyServer

WINDOW = Window(length_ms=1_500, slots=50)
FAST = Timing(WINDOW, beat_s=0.1, listen_s=0.25, grace_s=0.4, running_s=0.6)
WORKERS = 3
EXACT = 1.05


async def three() -> int:
    return WORKERS


def settings(over: str = "wait", **quota: int) -> QuotaSettings:
    return QuotaSettings.model_validate({"default": quota, "over": over})


class Worker:
    """Asks for one request after the other of the same tenant, for ever, and keeps when each was asked and granted."""

    def __init__(
        self, name: str, url: str | None, chosen: QuotaSettings, granted: list[tuple[float, float]], holds_s: float
    ) -> None:
        self.store = QuotaStore(CacheSettings(redis_url=url), chosen, name, three, FAST)
        self.name, self.granted, self.holds_s = name, granted, holds_s
        self.chosen = chosen
        self.running = 0
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, streams: int) -> None:
        self.tasks = [asyncio.create_task(self._run())]
        self.tasks += [asyncio.create_task(self._ask(str(number))) for number in range(streams)]

    async def _run(self) -> None:
        """As the store does by itself, but that it can stand still."""
        await self.store._look_for_workers()
        while True:
            await self.goes_on.wait()
            await self.store.beat()
            await asyncio.sleep(FAST.beat_s)

    async def kill(self) -> None:
        """Nothing is given back, nobody is told."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.running = 0
        await self.store.close()

    async def _is_granted(self, name: str) -> bool:
        asked_at = time.monotonic()
        [wait_s] = (await self.store.reserve({"t": [Ask(name, 10)]}))["t"]
        if wait_s == 0:
            self.granted.append((asked_at, time.monotonic()))
        return wait_s == 0

    async def _ask(self, stream: str) -> None:
        for number in range(1_000_000):
            name = f"{self.name}-{stream}-{number}"
            await self.goes_on.wait()
            while not await self._is_granted(name):
                await asyncio.sleep(0.03)
                await self.goes_on.wait()
            self.running += 1
            await asyncio.sleep(self.holds_s)
            self.running -= 1
            self.store.settle("t", name, requests=1, tokens=10)


@asynccontextmanager
async def workers(url: str | None, chosen: QuotaSettings, holds_s: float = 0.0) -> AsyncIterator[list[Worker]]:
    granted: list[tuple[float, float]] = []
    made = [Worker(f"w{number}", url, chosen, granted, holds_s) for number in range(WORKERS)]
    try:
        yield made
    finally:
        for one in made:
            await one.kill()


async def listen(*made: Worker) -> None:
    """As they do when they begin."""
    await asyncio.gather(*(one.store.beat() for one in made))
    await asyncio.sleep(FAST.listen_s)


def most_in_a_window(granted: list[tuple[float, float]]) -> int:
    """Of those that were granted within a window's length for certain: asked for and told in it."""
    length_s = WINDOW.length_ms / 1000
    return max(sum(begin <= asked and told < begin + length_s for asked, told in granted) for begin, _ in granted)


async def test_the_script_decides_as_the_arithmetic_does(redis: Redis) -> None:
    """Whatever was used when, by whom, at every place of a slot."""
    draw, used, now = random.Random(3), Counter[int](), 1_700_000_000_000
    await redis.hset("epoch", "id", "this")
    script = "local now = tonumber(ARGV[2])\n" + BODY
    for number in range(400):
        now += draw.choice((0, 1, 7, 29, 30, 31, 250, 1_499, 1_500))
        tokens = draw.randint(1, 60)
        ask = {
            "worker": draw.choice("abc"), "window_ms": WINDOW.length_ms, "slots": WINDOW.slots, "running_ms": 60_000,
            "look_ms": 250, "limits": [-1, 100, -1], "in_order": True, "used": [], "ended": [], "running": [],
            "asks": [[f"r{number}", tokens]], "epoch": "this", "careful": False,
        }  # fmt: skip
        answer = json.loads(await redis.eval(script, 2, "q:{t}", "epoch", json.dumps(ask), now))
        expected = WINDOW.wait_ms(used, 100, tokens, now)
        assert answer["verdicts"] == [pytest.approx(expected, abs=0.01)]
        if expected == 0:
            used[WINDOW.slot(now)] += tokens
        assert dict(tuple(use[::2]) for use in answer["used"] or []) == {
            slot: amount for slot, amount in used.items() if slot >= WINDOW.first(now)
        }


async def test_three_workers_keep_a_quota_through_a_death_and_an_outage(
    valkey: ValkeyServer,
    redis: Redis,  # noqa: ARG001  # empties it
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No window holds 5 % more than the quota, whatever happens; without trouble no 5 % less. The log says once each
    that Redis is away, and what is done meanwhile.
    """
    caplog.set_level(logging.INFO)
    async with workers(valkey.url, settings(requests_per_minute=120)) as made:
        granted = made[0].granted
        for one in made:
            one.start(streams=4)
        await asyncio.sleep(3.5)
        calm = [told for _, told in granted if told >= granted[0][1] + WINDOW.length_ms / 1000]
        rate = (len(calm) - 1) / (calm[-1] - calm[0]) * WINDOW.length_ms / 1000
        await made[0].kill()
        await asyncio.sleep(0.5)
        await asyncio.to_thread(valkey.stop)
        await asyncio.sleep(1.2)
        await asyncio.to_thread(valkey.start)
        await asyncio.sleep(2.2)
    assert most_in_a_window(granted) <= 120 * EXACT
    assert rate >= 120 / EXACT
    words = [record.getMessage() for record in caplog.records]
    assert sum("for its part of 3" in each for each in words) == 2, "by each worker that lives"
    assert sum("quotas are kept in Redis again" in each for each in words) == 2


async def test_what_a_dead_worker_had_running_comes_back(valkey: ValkeyServer, redis: Redis) -> None:  # noqa: ARG001
    """At once where another worker answers its requests, else when they have expired; and never more run than may."""
    chosen = settings(running=6)
    async with workers(valkey.url, chosen, holds_s=30.0) as (dead, heir, other):
        dead.start(streams=6)
        async with asyncio.timeout(5):
            while dead.running < 6:  # noqa: ASYNC110  # a number has no event
                await asyncio.sleep(0.01)
        await listen(heir, other)
        assert (await other.store.reserve({"t": [Ask("new", 1)]}))["t"][0] > 0
        await dead.kill()
        assert (await heir.store.reserve({"t": [Ask("w0-0-0", 10)]}))["t"] == [0]
        assert (await other.store.reserve({"t": [Ask("new", 1)]}))["t"][0] > 0
        await asyncio.sleep(FAST.running_s + 0.1)
        assert (await other.store.reserve({"t": [Ask("new", 1)]}))["t"] == [0]


async def test_a_request_of_a_dead_worker_is_charged_once(valkey: ValkeyServer, redis: Redis) -> None:  # noqa: ARG001
    """Whoever answers it takes over what was reserved for it; an estimate is corrected at the end."""
    async with workers(valkey.url, settings(tokens_per_minute=100)) as (dead, heir, _):
        await listen(dead, heir)
        assert (await dead.store.reserve({"t": [Ask("request", 80)]}))["t"] == [0]
        assert (await heir.store.reserve({"t": [Ask("another", 80)]}))["t"][0] > 0
        assert (await heir.store.reserve({"t": [Ask("request", 80)]}))["t"] == [0]
        heir.store.settle("t", "request", requests=1, tokens=15)
        assert (await heir.store.reserve({"t": [Ask("another", 80)]}))["t"] == [0]


async def test_what_is_asked_at_once_is_one_round_trip(valkey: ValkeyServer, redis: Redis) -> None:
    """One script for all and one for each tenant; what Redis does does not grow with what runs already."""
    runs, most_commands = 200, 400
    async with workers(valkey.url, settings(running=1_000)) as (one, *_):
        await listen(one)
        for tenant in "ab":
            await one.store.reserve({tenant: [Ask(f"{tenant}-{number}", 1) for number in range(runs)]})
        await redis.config_resetstat()
        waits = await one.store.reserve({tenant: [Ask(f"{tenant}-{n}-new", 1) for n in range(4)] for tenant in "ab"})
        assert waits == {tenant: [0] * 4 for tenant in "ab"}
        told: dict[str, dict[str, int]] = await redis.info("commandstats")
        commands = {name.removeprefix("cmdstat_"): each["calls"] for name, each in told.items()}
        assert commands.pop("eval") == 3
        assert sum(commands.values()) < most_commands


async def test_in_order_none_is_granted_before_one_that_came_earlier(valkey: ValkeyServer, redis: Redis) -> None:
    """Where they wait; where they are refused each is judged by itself."""
    asks = {"t": [Ask("a", 60), Ask("b", 60), Ask("c", 10)]}
    for over, expected in (("wait", [True, False, False]), ("refuse", [True, False, True])):
        async with workers(valkey.url, settings(over, tokens_per_minute=100)) as (one, *_):
            await redis.flushall()
            await listen(one)
            assert [wait == 0 for wait in (await one.store.reserve(asks))["t"]] == expected


@pytest.mark.parametrize("url", [None, "redis://127.0.0.1:1"], ids=["unset", "nobody there"])
async def test_without_redis_each_worker_gives_its_part(url: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """And says so once. Where one is set that never answered, others may have given it before: not for a window."""
    async with workers(url, settings(requests_per_minute=90)) as made:
        await asyncio.gather(*(one.store.beat() for one in made))
        if url is not None:
            assert all([(await one.store.reserve({"t": [Ask("early", 1)]}))["t"][0] > 0 for one in made])
            await asyncio.sleep(FAST.leaves_s)
        for one in made:
            await one.store._look_for_workers()
            waits = (await one.store.reserve({"t": [Ask(str(number), 1) for number in range(40)]}))["t"]
            waits += (await one.store.reserve({"t": [Ask("more", 1)]}))["t"]
            assert sum(wait == 0 for wait in waits) == 30
    assert sum("for its part of 3" in record.getMessage() for record in caplog.records) == 3


async def grants(worker: Worker, prefix: str, count: int = 200) -> int:
    """How many it is granted of so many that it asks for at once."""
    return sum(
        wait == 0 for wait in (await worker.store.reserve({"t": [Ask(f"{prefix}-{n}", 1) for n in range(count)]}))["t"]
    )


async def test_what_a_redis_forgot_unseen_is_not_given_again(valkey: ValkeyServer, redis: Redis) -> None:
    """Its data lost between two looks, while a worker stood still and another was started: in the window after they
    all together give no more than what was left, and after it the whole.
    """
    async with workers(valkey.url, settings(requests_per_minute=120)) as (busy, still, fresh):
        await listen(busy, still)
        await busy.store.beat()
        for one in (busy, still):
            await one.store._look_for_workers()
        assert await grants(busy, "before", 90) == 90
        assert await grants(still, "hears", 1) == 1
        await busy.store.beat()
        await redis.flushall()
        await fresh.store.beat()
        given = await grants(fresh, "fresh") + await grants(still, "still") + await grants(busy, "busy")
        assert given <= 120 - 91
        await asyncio.sleep(FAST.listen_s)
        assert await grants(fresh, "fresh again") == 0, "it listens, and hears that not all is told"
        await asyncio.sleep(FAST.leaves_s - FAST.listen_s + 0.1)
        await asyncio.gather(*(one.store.beat() for one in (busy, still, fresh)))
        assert await grants(fresh, "all") >= 120 - given - 1


async def test_what_another_gave_in_an_outage_and_never_told_is_not_given_again(
    valkey: ValkeyServer,
    redis: Redis,  # noqa: ARG001  # empties it
) -> None:
    """Redis comes back with all its data, but one worker stands still, for however long, and has not said what it gave:
    the others give no more than their parts.
    """
    async with workers(valkey.url, settings(requests_per_minute=120)) as (back, still, _):
        await listen(back, still)
        for one in (back, still):
            assert await grants(one, one.name, 1) == 1
            await one.store._look_for_workers()
        os.kill(valkey.pid, signal.SIGSTOP)
        await asyncio.gather(back.store.beat(), still.store.beat())
        await asyncio.sleep(FAST.grace_s)
        given = await grants(still, "away")
        assert given >= 120 / WORKERS - 2
        os.kill(valkey.pid, signal.SIGCONT)
        await back.store.beat()
        await asyncio.sleep(FAST.listen_s)
        assert await grants(back, "back") + given <= 120 * 2 / WORKERS


async def test_no_misfortune_makes_a_window_hold_more(valkey: ValkeyServer, redis: Redis) -> None:
    """Workers die and come back, stand still and go on, Redis goes away, comes back with its data or without, and loses
    them unseen, all at any time: no window holds 5 % more than the quota.
    """
    draw = random.Random(1)
    async with workers(valkey.url, settings(requests_per_minute=120)) as made:
        granted = made[0].granted
        for one in made:
            one.start(streams=4)
        await asyncio.sleep(1)
        for number in range(8):
            fate, victim = draw.choice(("die", "stand still", "freeze", "restart", "forget")), draw.randrange(WORKERS)
            if fate == "die":
                await made[victim].kill()
                made[victim] = Worker(f"w{victim}-{number}", valkey.url, made[0].chosen, granted, 0)
                made[victim].start(streams=4)
            elif fate == "stand still":
                made[victim].goes_on.clear()
            elif fate == "freeze":
                os.kill(valkey.pid, signal.SIGSTOP)
            elif fate == "restart":
                await asyncio.to_thread(valkey.kill)
            else:
                await redis.flushall()
            await asyncio.sleep(draw.uniform(0.1, 1.0))
            made[victim].goes_on.set()
            if fate == "freeze":
                os.kill(valkey.pid, signal.SIGCONT)
            elif fate == "restart":
                await asyncio.to_thread(valkey.start)
    assert most_in_a_window(granted) <= 120 * EXACT
    assert len(granted) > 120
