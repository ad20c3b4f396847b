"""What makes each alert fire, and what ends it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import psutil

from pelton.stack.process import ChildProcess
from tests.faulty.engine import Mark
from tests.monitoring.scene import QUICK, SLOW, Load, Scene

MANY = 8_000
"""Requests that take the slow worker more than a quarter of an hour."""


@dataclass
class Stage:
    """What provocations act on. `simulated` is the worker that runs now."""

    scene: Scene
    load: Load
    workers: AsyncExitStack
    simulated: ChildProcess

    async def restart(self, speed: dict[str, str]) -> None:
        """Have the simulated worker run at another speed."""
        await self.workers.aclose()
        self.simulated = await self.workers.enter_async_context(self.scene.broken_by_request(speed))


Provocation = Callable[[Stage], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def failing(stage: Stage) -> AsyncIterator[None]:
    """A third of the requests fails in the engine."""

    async def send() -> None:
        while True:
            await stage.load.send("simulated", Mark.FAIL)
            await asyncio.sleep(0.5)

    async with _while(send()):
        yield


@asynccontextmanager
async def hanging(stage: Stage) -> AsyncIterator[None]:
    """A step takes a minute, beside requests that run."""
    await stage.load.send("simulated", "beside it", 8)
    await stage.load.send("simulated", Mark.HANG)
    yield


@asynccontextmanager
async def crashing(stage: Stage) -> AsyncIterator[None]:
    """The worker is killed whenever it has started."""

    async def kill() -> None:
        killed: set[int] = set()
        while len(killed) < 6:
            for child in psutil.Process(stage.simulated.pid).children():
                if child.pid not in killed and await _serves(child):
                    os.kill(child.pid, signal.SIGKILL)
                    killed.add(child.pid)
            await asyncio.sleep(0.3)

    async with _while(kill()):
        yield


@asynccontextmanager
async def piling_up(stage: Stage) -> AsyncIterator[None]:
    """More than is answered in a quarter of an hour; then a quicker worker."""
    await stage.load.send("simulated", "one of many", MANY)
    yield
    await stage.restart(QUICK)
    await asyncio.sleep(15)
    await stage.restart(SLOW)


@asynccontextmanager
async def without_cache(stage: Stage) -> AsyncIterator[None]:
    """Valkey is away."""
    await asyncio.to_thread(stage.scene.stack.valkey.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(stage.scene.stack.valkey.start)


@asynccontextmanager
async def without_kafka(stage: Stage) -> AsyncIterator[None]:
    """Kafka stands still while answers are to be committed."""
    pid = stage.scene.stack.kafka.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


PROVOCATIONS: dict[str, Provocation] = {
    "PeltonRequestsFail": failing,
    "PeltonStalled": hanging,
    "PeltonBacklogTooLong": piling_up,
    "PeltonRestarts": crashing,
    "PeltonCacheFails": without_cache,
    "PeltonPublishFails": without_kafka,
    "PeltonKafkaAway": without_kafka,
}
"""The others come by themselves: without workers, with failing requests, and under a load of long answers."""


@asynccontextmanager
async def _while(work: "Coroutine[None, None, None]") -> AsyncIterator[None]:
    running = asyncio.create_task(work)
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _serves(child: psutil.Process) -> bool:
    """Whether it listens: its metrics can have been scraped after a moment."""
    try:
        listening = any(each.status == psutil.CONN_LISTEN for each in child.net_connections("tcp"))
    except psutil.Error:
        return False
    if listening:
        await asyncio.sleep(1.5)
    return listening
