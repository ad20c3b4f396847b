"""One chaos run, from an empty Kafka to the verdict."""

import asyncio
import logging
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.contract import dead_letter_topic
from pelton.stack.stack import LocalStack, StackConfig
from pelton.workers.kafka.topics import ensure_topics
from tests.chaos.checker import Verdict, check
from tests.chaos.endpoint import EndpointProcess
from tests.chaos.evidence import Evidence
from tests.chaos.faults.breaker import Breaker
from tests.chaos.faults.operator import Operator, administering
from tests.chaos.faults.topics import TopicFaults
from tests.chaos.fleet import Fleet, Launch, simulated_engine, worker_settings
from tests.chaos.follower import Follower
from tests.chaos.load import Load, take_back
from tests.chaos.mix import LETTER_BYTES, OWN_TOPIC, URGENT_PARTITIONS, Mix
from tests.chaos.schedule import Fault, Storm, Strike, schedule
from tests.chaos.senders import wishes
from tests.chaos.senders.cancels import Cancels

log = logging.getLogger(__name__)

PARTITIONS = 12
OWN_PARTITIONS = 4
SECRET = "known to the group"  # noqa: S105  # of a Kafka that lives as long as the run
URGENT_TOPIC = "chaos.urgent-requests"
REQUEST_TOPICS = (contract.REQUESTS_TOPIC, "chaos.other-requests", URGENT_TOPIC)
"""The second is the one that is deleted and made anew. Requests of the third go first; sessions are there too."""
Engine = Literal["simulated", "openai"]
SESSION_S = 6.0
PATIENCE_S = 150.0
"""A healed system without a single reply for so long has stopped: sessions, transactions, drains and quotas, which are
for a minute, take less."""


@dataclass(frozen=True, slots=True)
class Run:
    """What to do: `requests` spread over the storm's time. `worker` is what Python runs as a worker."""

    seed: int
    requests: int
    storm: Storm
    worker: Sequence[str] = ("-m", "tests.faulty.worker")
    engine: Engine = "simulated"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands. `current` are the faults that are not over."""

    phase: str
    elapsed_s: float
    sent: int
    answered: int
    repeated: int
    struck: int
    current: tuple[Strike, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. `starts` counts worker processes."""

    verdict: Verdict
    struck: Mapping[Fault, int]
    starts: int
    load_s: float
    total_s: float

    def as_json(self) -> dict[str, Any]:
        return {
            **self.verdict.as_json(),
            "faults": {fault.value: times for fault, times in sorted(self.struck.items())},
            "faults_total": sum(self.struck.values()),
            "worker_starts": self.starts,
            "load_s": round(self.load_s, 1),
            "total_s": round(self.total_s, 1),
        }


class Rig:
    """Kafka, Valkey, workers, load and faults of one run; the logs of all processes are in `folder` afterwards."""

    def __init__(self, run: Run, folder: Path) -> None:
        self._run = run
        self._folder = folder
        self._stack = LocalStack(StackConfig())
        self._kafka = KafkaSettings(
            bootstrap_servers=self._stack.kafka.bootstrap_servers,
            group_id="chaos",
            create_topics=True,
            partitions=PARTITIONS,
            session_timeout_ms=int(SESSION_S * 1000),
            request_topics=REQUEST_TOPICS,
            interactive_topics=(URGENT_TOPIC,),
            reply_topics_allowed=(re.escape(OWN_TOPIC),),
            group_secret=SECRET,
        )
        self._endpoint = EndpointProcess(folder)
        served = self._endpoint.settings if run.engine == "openai" else simulated_engine()
        wished = wishes.settings(run.seed, run.requests / run.storm.seconds * 60)
        environment = {**worker_settings(self._stack, self._kafka), **served, **wished}
        launch = Launch([sys.executable, *run.worker], environment, folder)
        self._fleet = Fleet(run.storm.workers, launch)
        self._mix = Mix(run.seed, PARTITIONS)
        self._load = Load(self._kafka)
        self._urgent_load = Load(self._kafka, URGENT_TOPIC)
        self._cancels = Cancels(self._kafka)
        self._follower = Follower(self._kafka)
        self._operator = operator = Operator(self._kafka, self._fleet)
        self._other_load = other_load = Load(self._kafka, REQUEST_TOPICS[1])
        self._topics = TopicFaults(
            kafka=self._kafka, seed=run.seed, mix=self._mix, operator=operator, load=self._load, other_load=other_load
        )
        loads = (self._load, other_load, self._urgent_load)
        self._evidence = Evidence(self._kafka, operator, self._topics, loads, folder)
        self._breaker = Breaker(self._stack, self._fleet, self._send_poison, self._topics)
        self._began = time.monotonic()
        self._phase = "starting"
        self._load_s = 0.0

    @property
    def progress(self) -> Progress:
        answered = len(self._follower.answered)
        return Progress(
            self._phase,
            time.monotonic() - self._began,
            self._load.count + self._urgent_load.count,
            answered,
            self._follower.replies - answered,
            sum(self._breaker.struck.values()),
            tuple(self._breaker.current),
        )

    async def carry_out(self) -> Outcome:
        """Do it. Raises `StackError` where something cannot be started, `LogStuck` where a log cannot be read."""
        try:
            await asyncio.to_thread(self._stack.start)
            await self._create_topics()
            if self._run.engine == "openai":
                await asyncio.to_thread(self._endpoint.start)
            await self._fleet.start()
            async with asyncio.TaskGroup() as background:
                tasks = [background.create_task(self._fleet.supervise()), background.create_task(self._follower.run())]
                await self._storm()
                await self._calm()
                for task in tasks:
                    task.cancel()
            self._phase = "draining"
            await self._fleet.stop()
            self._phase = "checking"
            wipes = self._breaker.struck[Fault.CACHE_KILL]
            verdict = check(replace(await self._evidence.gather(), wipes=wipes))
            return Outcome(
                verdict, self._breaker.struck, self._fleet.starts, self._load_s, time.monotonic() - self._began
            )
        finally:
            await self._fleet.kill()
            await self._close_loads()
            self._keep_logs()
            await asyncio.to_thread(self._endpoint.close)
            await asyncio.to_thread(self._stack.close)

    async def _create_topics(self) -> None:
        sizes = {OWN_TOPIC: OWN_PARTITIONS, URGENT_TOPIC: URGENT_PARTITIONS}
        async with administering(self._kafka) as admin:
            await admin.create_topics([NewTopic(topic, partitions, 1) for topic, partitions in sizes.items()])
        await ensure_topics(self._kafka)
        await self._limit_letters()

    async def _limit_letters(self) -> None:
        letters = dead_letter_topic(self._kafka.request_topics[0])
        limit = ConfigResource(ConfigResourceType.TOPIC, letters, configs={"max.message.bytes": str(LETTER_BYTES)})
        async with administering(self._kafka) as admin:
            await admin.alter_configs([limit])

    async def _storm(self) -> None:
        self._phase = "storm"
        await self._cancels.start()
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._topics.fill_other())
            group.create_task(self._steady_load())
            group.create_task(self._breaker.run(schedule(self._run.seed, self._run.storm)))
        await self._cancels.stop()
        self._load_s = time.monotonic() - began

    async def _calm(self) -> None:
        """All faults are over: wait until every stored request is answered, or nothing moves any more."""
        self._phase = "catching up"
        if await self._follower.wait_until_settled(PATIENCE_S):
            async with asyncio.timeout(PATIENCE_S):
                await self._operator.wait_for_members(self._run.storm.workers)
            await take_back(self._kafka, self._load, self._mix)
            await self._follower.wait_until_settled(PATIENCE_S)
        else:
            log.error("nothing has moved for %s s, but not all requests are answered", PATIENCE_S)
        await self._close_loads()

    async def _close_loads(self) -> None:
        for load in (self._load, self._urgent_load, self._other_load):
            await load.close()

    async def _steady_load(self) -> None:
        loop = asyncio.get_running_loop()
        began, gap_s = loop.time(), self._run.storm.seconds / self._run.requests
        for number in range(self._run.requests):
            await asyncio.sleep(began + number * gap_s - loop.time())
            request = self._mix.request(number)
            await (self._urgent_load if request.urgent else self._load).send(request)
            self._cancels.follow(request)

    async def _send_poison(self, number: int) -> None:
        await self._load.send(self._mix.poison(number))

    def _keep_logs(self) -> None:
        for server in (self._stack.kafka, self._stack.valkey):
            for file in server.folder.glob("*.log"):
                shutil.copy(file, self._folder)
