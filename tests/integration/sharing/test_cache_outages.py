"""Valkey goes away, freezes or fills up under load: no request fails or waits for it, and it is used again after."""

import asyncio
import os
import signal
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis

from pelton.stack.valkey import ValkeyConfig, ValkeyServer
from tests.replies import correlation_id, error_code, outcome

PER_S = 60
TROUBLE_S = 2.0
NOISE_MS = 1_000
"""What a busy machine adds; far below the outage, which is what waiting for the server would cost."""


@asynccontextmanager
async def killed(valkey: ValkeyServer) -> AsyncIterator[None]:
    await asyncio.to_thread(valkey.kill)
    yield
    await asyncio.to_thread(valkey.start)


@asynccontextmanager
async def frozen(valkey: ValkeyServer) -> AsyncIterator[None]:
    os.kill(valkey.pid, signal.SIGSTOP)
    yield
    os.kill(valkey.pid, signal.SIGCONT)


@asynccontextmanager
async def full(valkey: ValkeyServer) -> AsyncIterator[None]:
    with redis.Redis.from_url(valkey.url) as client:
        client.config_set("maxmemory", 1)
        yield
        client.config_set("maxmemory", 0)


async def test_an_outage_costs_nobody_an_answer(scene):
    """Two workers, repeated and new prompts: every request is answered in time, and the cache heals by itself."""
    with ValkeyServer(ValkeyConfig()) as valkey:
        await scene.begin(partitions=2, cache={"redis_url": valkey.url, "local_ttl_s": 0.5})
        async with scene.workers(2) as (first, second):
            stop = asyncio.Event()
            sending = asyncio.create_task(send_until(stop, scene))
            await asyncio.sleep(0.5)
            for trouble in (killed, frozen, full):
                async with trouble(valkey):
                    await asyncio.sleep(TROUBLE_S)
                await healed(scene, first, second, trouble.__name__)
            stop.set()
            await sending
            requests = await scene.client.read_all(scene.at.requests)
            replies = await scene.read(len(requests))
            samples = [worker.metrics.registry.get_sample_value for worker in (first, second)]
    assert [error_code(reply) for reply in replies if error_code(reply)] == []
    sent_ms = {f"{sent.topic}-{sent.partition}-{sent.offset}": sent.timestamp for sent in requests}
    waits_ms = [reply.timestamp - sent_ms[dict(reply.headers)["pelton-source"].decode()] for reply in replies]
    assert max(waits_ms) < scene.at.settings.cache.timeout_ms + NOISE_MS
    assert statistics.median(waits_ms) < NOISE_MS / 4
    for kind in ("unreachable", "timeout", "full"):
        assert any(sample("pelton_cache_failures_total", {"kind": kind}) for sample in samples)


async def send_until(stop: asyncio.Event, scene) -> None:
    """Every third prompt is new, the others come again and again."""
    count = 0
    while not stop.is_set():
        text = f"new {count} {scene.text}" if count % 3 == 0 else f"old {count % 7} {scene.text}"
        await scene.ask(f"load-{count}", text=text, partition=count % 2)
        count += 1
        await asyncio.sleep(1 / PER_S)


async def healed(scene, first, second, trouble: str) -> None:
    """Ask one worker and then the other until an answer crosses from the one to the other again."""
    for number in range(50):
        for name, worker in (("one", first), ("two", second)):
            text = f"healed of {trouble}? {number} {scene.text}"
            await scene.ask(
                f"{trouble}-{name}-{number}", text=text, partition=min(worker.partitions), max_completion_tokens=1
            )
            await asyncio.sleep(0.1)
        told = {correlation_id(reply): outcome(reply) for reply in await scene.read_all()}
        if told.get(f"{trouble}-two-{number}") == "hit-remote":
            return
    pytest.fail("no answer went from one worker to the other")
