"""Looks at where the logs of a worker's partitions end: for its backlog, and for topics that were made anew.

A topic may be deleted and made anew under a worker that goes on owning its partitions.
"""

import asyncio
import logging
from collections import Counter

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pelton.pipeline.metrics import Metrics
from pelton.workers.delivery.assignment import Assignment
from pelton.workers.fairness.backlog import BacklogMeter
from pelton.workers.kafka.log_ranges import LogRanges
from pelton.workers.notices import Notice

log = logging.getLogger(__name__)

LOOK_S = 2.0
SURE = 2
"""Looks in a row that must find a log shorter than what was read of it, or another topic: a new leader may not know its
end yet, and a broker not that a topic is another one."""


class LogWatch:
    """Compares what was read of each partition with where its log ends."""

    def __init__(self, ranges: LogRanges, assignment: Assignment, backlog: BacklogMeter, metrics: Metrics) -> None:
        self._ranges = ranges
        self._assignment = assignment
        self._backlog = backlog
        self._metrics = metrics
        self._odd: Counter[TopicPartition] = Counter()
        self._trouble = Notice(log)

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self._look()
            except (KafkaError, OSError, TimeoutError) as error:
                self._trouble.say("the ends of the request topics' logs cannot be read, asking again: %r", error)
            else:
                self._trouble.over("the ends of the request topics' logs can be read again")

    async def _look(self) -> None:
        owned = self._assignment.trackers()
        # Before asking: what is read while the answers are under way may lie beyond the ends in them.
        read_to = {partition: tracker.horizon for partition, tracker in owned.items()}
        ends = await self._ranges.ends(owned) if owned else {}
        ids = await self._ranges.topic_ids({partition.topic for partition in owned}) if owned else {}
        self._show(sum(max(0, ends[at] - tracker.horizon) + tracker.unanswered for at, tracker in owned.items()))
        self._metrics.partitions.set(len(owned))
        for partition, tracker in owned.items():
            current = ids.get(partition.topic, "")
            is_another = bool(current and tracker.topic_id) and current != tracker.topic_id
            seen = is_another or read_to[partition] > ends[partition]
            self._odd[partition] = self._odd[partition] + 1 if seen else 0
            if self._odd[partition] == SURE:
                log.error(
                    "Topic %s, partition %d, was made anew (it ends at offset %d, the old one was read up to %d), and "
                    "is taken over from the start. What ran of the old one has no record any more and is given up.",
                    *partition, ends[partition], read_to[partition],
                )  # fmt: skip
                self._odd[partition] = 0
                self._assignment.restart(partition)

    def _show(self, waiting: int) -> None:
        backlog = self._backlog.look(waiting)
        self._metrics.backlog_requests.set(backlog.requests)
        self._metrics.backlog_tokens.set(backlog.tokens)
        self._metrics.tokens_per_second.set(backlog.tokens_per_second)
        self._metrics.backlog_seconds.set(backlog.seconds)
