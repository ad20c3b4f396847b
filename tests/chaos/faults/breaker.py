"""Carries a schedule out: strikes workers, Kafka and Valkey, and makes each whole again when its time is over."""

import asyncio
import logging
import os
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence

from redis.asyncio import Redis

from pelton.stack.server import Server
from pelton.stack.stack import LocalStack
from pelton.stack.valkey import ValkeyServer
from tests.chaos.faults.topics import TopicFaults
from tests.chaos.fleet import Berth, Fleet
from tests.chaos.schedule import SERVER_OF, Fault, Strike

log = logging.getLogger(__name__)

STUTTER_STOP_S, STUTTER_RUN_S = 0.15, 0.05


class Breaker:
    """Every fault does its damage, waits as long as it lasts, and undoes it."""

    def __init__(
        self, stack: LocalStack, fleet: Fleet, send_poison: Callable[[int], Awaitable[None]], topics: TopicFaults
    ) -> None:
        self._stack = stack
        self._fleet = fleet
        self._send_poison = send_poison
        self._topics = topics
        self._at_servers = defaultdict[Server, asyncio.Lock](asyncio.Lock)
        self.struck: Counter[Fault] = Counter()
        self.current: list[Strike] = []

    async def run(self, strikes: Sequence[Strike]) -> None:
        """Strike when it is time, counted from now; return when the last fault is over."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            for strike in strikes:
                await asyncio.sleep(began + strike.at_s - loop.time())
                group.create_task(self._strike(strike))

    async def _strike(self, strike: Strike) -> None:
        log.info("strike: %s", strike)
        self.struck[strike.fault] += 1
        self.current.append(strike)
        worker = None if strike.target is None else self._fleet.workers[strike.target]
        if worker is None:
            await self._strike_all_else(strike)
        else:
            await self._strike_worker(worker, strike)
        self.current.remove(strike)
        log.info("over: %s", strike)

    async def _strike_worker(self, worker: Berth, strike: Strike) -> None:
        match strike.fault:
            case Fault.KILL:
                worker.send(signal.SIGKILL)
            case Fault.CRASH:
                worker.crash()
            case Fault.ORPHAN:
                worker.orphan()
            case Fault.FREEZE:
                worker.send(signal.SIGSTOP)
                await asyncio.sleep(strike.lasts_s)
                worker.send(signal.SIGCONT)
            case Fault.TERMINATE | Fault.LEAVE:
                worker.wanted = False
                await worker.drain()
                await asyncio.sleep(strike.lasts_s)
                worker.wanted = True

    async def _strike_all_else(self, strike: Strike) -> None:
        match strike.fault:
            case Fault.KILL_ALL:
                for worker in self._fleet.everyone:
                    worker.send(signal.SIGKILL)
            case Fault.JOIN:
                guest = await self._fleet.invite()
                await asyncio.sleep(strike.lasts_s)
                guest.wanted = False
                await guest.drain()
            case Fault.POISON:
                await self._send_poison(self.struck[Fault.POISON])
            case fault if fault in SERVER_OF:
                await self._strike_server(strike)
            case _:
                await self._topics.strike(strike, self.struck[strike.fault])

    async def _strike_server(self, strike: Strike) -> None:
        match strike.fault:
            case Fault.BROKER_KILL:
                await self._kill(self._stack.kafka, strike.lasts_s)
            case Fault.CACHE_KILL:
                await self._kill(self._stack.valkey, strike.lasts_s)
            case Fault.BROKER_FREEZE:
                await self._freeze(self._stack.kafka, strike.lasts_s)
            case Fault.BROKER_STUTTER:
                await self._stutter(self._stack.kafka, strike.lasts_s)
            case Fault.CACHE_FREEZE:
                await self._freeze(self._stack.valkey, strike.lasts_s)
            case Fault.CACHE_FULL:
                await self._fill(self._stack.valkey, strike.lasts_s)

    async def _kill(self, server: Server, for_s: float) -> None:
        async with self._at_servers[server]:  # one that takes long to start is not struck meanwhile
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(for_s)
            await asyncio.to_thread(server.start)

    async def _freeze(self, server: Server, for_s: float) -> None:
        async with self._at_servers[server]:
            os.kill(server.pid, signal.SIGSTOP)
            await asyncio.sleep(for_s)
            os.kill(server.pid, signal.SIGCONT)

    async def _fill(self, valkey: ValkeyServer, for_s: float) -> None:
        async with self._at_servers[valkey], Redis.from_url(valkey.url) as client:
            await client.config_set("maxmemory", 1)
            await asyncio.sleep(for_s)
            await client.config_set("maxmemory", 0)

    async def _stutter(self, server: Server, for_s: float) -> None:
        end = time.monotonic() + for_s
        while time.monotonic() < end:
            await self._freeze(server, STUTTER_STOP_S)
            await asyncio.sleep(STUTTER_RUN_S)
