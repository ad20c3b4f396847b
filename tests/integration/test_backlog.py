"""The backlog as a number: true without workers, and near the time that the work takes."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from pelton.producers.kafka.backlog import BacklogReader, TopicBacklog
from pelton.workers.delivery import log_watch
from tests.integration.conftest import ForeignClient, Place, chat

REQUESTS = 800
FROM, UP_TO = 0.3, 0.8
"""The part of the run in which the estimate is held to the truth: later there is too little left to be right about."""


async def read(at: Place) -> TopicBacklog:
    reader = BacklogReader(at.settings.kafka)
    await reader.start()
    try:
        [found] = await reader.read()
    finally:
        await reader.close()
    return found


async def test_the_estimate_is_near_the_time_it_takes(
    place: Callable[..., Any], client: ForeignClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a fifth in the median; and what is counted without workers is what waits.

    Looks and flushes are as much shorter than usual as the backlog is.
    """
    monkeypatch.setattr(log_watch, "LOOK_S", 0.2)
    at = await place(
        partitions=2,
        simulated={"itl_ms": 10, "max_running": 16},
        cache={"enabled": False},
        worker={"flush_interval_ms": 5},
    )
    await client.send_many(at.requests, [chat(f"question {index}") for index in range(REQUESTS)])
    assert await read(at) == TopicBacklog(at.requests, waiting=REQUESTS, answered=0)
    estimates: list[tuple[float, float]] = []
    finished = at.metrics.finished.labels("ok")
    async with asyncio.timeout(90), at.worker():
        while (done := finished._value.get()) < REQUESTS:
            if FROM <= done / REQUESTS <= UP_TO:
                estimates.append((time.monotonic(), at.metrics.backlog_seconds._value.get()))
            await asyncio.sleep(0.1)
        ended = time.monotonic()
    assert len(estimates) > 5
    ratios = sorted(estimate / (ended - at_s) for at_s, estimate in estimates)
    assert ratios[len(ratios) // 2] == pytest.approx(1.0, abs=0.2)
    assert await read(at) == TopicBacklog(at.requests, waiting=0, answered=REQUESTS)
