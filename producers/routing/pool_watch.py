"""Looks at how far the pools are behind, and turns overflows on and off by it."""

import asyncio
import logging
import math
from collections.abc import Mapping

from aiokafka.errors import KafkaError

from pelton.pipeline.offsets import BadMetadata
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.routing.router import Pool, RoutingSettings, pool_topics
from pelton.producers.errors import ProducerError
from pelton.producers.kafka.backlog import BacklogReader, Speed
from pelton.producers.kafka.cluster import Topic
from pelton.producers.routing.metrics import RouterMetrics
from pelton.producers.routing.overflow import OverflowSwitch

log = logging.getLogger(__name__)


class PoolWatch:
    """Of the pools that some overflow compares. Without one there is nothing to look at."""

    def __init__(
        self, kafka: KafkaSettings, routing: RoutingSettings, topics: Mapping[str, Topic], metrics: RouterMetrics
    ) -> None:
        self._interval_s = routing.look_interval_s
        self._metrics = metrics
        self._switches: dict[str, OverflowSwitch] = {}
        self._compared: dict[str, tuple[str, str]] = {}
        for name, experiment in routing.experiments.items():
            if (overflow := experiment.overflow) is not None:
                self._switches[name] = OverflowSwitch(overflow)
                self._compared[name] = (experiment.variants[overflow.variant].model, overflow.model)
        models = {model for pair in self._compared.values() for model in pair}
        self._pools = {model: PoolBacklog(kafka, routing.pools[model], topics) for model in sorted(models)}

    def is_behind(self, experiment: str) -> bool:
        """Whether requests of the experiment's overflowing variant go to the other pool now."""
        switch = self._switches.get(experiment)
        return switch is not None and switch.is_on

    async def run(self) -> None:
        """Look for ever. While Kafka does not say, the last decision holds for a while."""
        if not self._pools:
            return
        try:
            while True:
                try:
                    self._decide({model: await pool.seconds() for model, pool in self._pools.items()})
                except (ProducerError, KafkaError, OSError, TimeoutError, BadMetadata) as error:
                    log.warning("the pools' backlogs cannot be read: %s", error)
                await asyncio.sleep(self._interval_s)
        finally:
            for pool in self._pools.values():
                await pool.close()

    def _decide(self, seconds: Mapping[str, float]) -> None:
        for model, behind_s in seconds.items():
            self._metrics.backlog_seconds.labels(model).set(behind_s)
        for name, (model, other) in self._compared.items():
            switch = self._switches[name]
            was_on, is_on = switch.is_on, switch.look(seconds[model], seconds[other])
            self._metrics.overflow.labels(name).set(is_on)
            if is_on != was_on:
                log.warning(
                    "experiment %s: %s is %.0f s behind, %s %.0f s: requests go to %s",
                    *(name, model, seconds[model], other, seconds[other], other if is_on else "each its own"),
                )


class PoolBacklog:
    """How long one pool takes for what it has not answered."""

    def __init__(self, kafka: KafkaSettings, pool: Pool, topics: Mapping[str, Topic]) -> None:
        mine = pool_topics(pool)
        its_own = kafka.model_copy(update={"group_id": pool.group_id, "request_topics": mine})
        self._reader = BacklogReader(its_own)
        self._speed = Speed()
        self._marks = sum(topics[topic].partitions for topic in mine)
        self._started = False

    async def seconds(self) -> float:
        """Infinite while nobody answers. Raises what reading a backlog raises."""
        if not self._started:
            await self._reader.start()
            self._started = True
        found = await self._reader.read()
        waiting, speed = sum(each.waiting for each in found), self._speed.note(sum(each.answered for each in found))
        # A transaction's mark lies behind the last request of a partition, and counts as one that nobody answers.
        if waiting <= self._marks:
            return 0.0
        return waiting / speed if speed else math.inf

    async def close(self) -> None:
        await self._reader.close()
