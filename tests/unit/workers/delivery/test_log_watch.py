"""The watch over the logs: a topic that was made anew is noticed, one that is read quickly is left alone."""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from typing import Any, cast

import pytest
from aiokafka import TopicPartition

from pelton.pipeline.metrics import Metrics
from pelton.pipeline.offsets import OffsetTracker, Progress
from pelton.workers.delivery import log_watch
from pelton.workers.delivery.log_watch import SURE, LogWatch
from pelton.workers.fairness.backlog import BacklogMeter

PARTITION = TopicPartition("requests", 0)


class Log:
    """A partition that is ours; while somebody asks for its end, `meanwhile` happens."""

    def __init__(self, meanwhile: Callable[[], None], topic_id: str = "one") -> None:
        self.tracker = OffsetTracker(Progress(0, 0, topic_id="one"))
        self.end = 0
        self.topic_id = topic_id
        self.meanwhile = meanwhile
        self.looks = 0
        self.looked = asyncio.Event()
        self.restarted: list[TopicPartition] = []

    def trackers(self) -> dict[TopicPartition, OffsetTracker]:
        return {PARTITION: self.tracker}

    def restart(self, partition: TopicPartition) -> None:
        self.restarted.append(partition)

    async def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        end = self.end
        self.meanwhile()
        return dict.fromkeys(partitions, end)

    async def topic_ids(self, topics: Collection[str]) -> dict[str, str]:
        self.looks += 1
        if self.looks > 2 * SURE:
            self.looked.set()
        return dict.fromkeys(topics, self.topic_id)


async def watch(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_watch, "LOOK_S", 0.0)
    task = asyncio.create_task(LogWatch(cast(Any, log), cast(Any, log), BacklogMeter(), Metrics()).run())
    await asyncio.wait_for(log.looked.wait(), 5)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_what_is_read_while_the_end_is_asked_for_is_no_other_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition that grows and is read at once is never found shorter than what was read of it."""

    def grow() -> None:
        log.tracker.admit(log.end)
        log.end += 1

    log = Log(grow)
    await watch(log, monkeypatch)
    assert log.restarted == []


async def test_another_topic_of_that_name_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long its log is."""
    log = Log(lambda: None, topic_id="two")
    log.end = 100
    await watch(log, monkeypatch)
    assert set(log.restarted) == {PARTITION}
