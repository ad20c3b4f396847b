"""A waiting line in tests: places in it, ways to choose, and whether who wants in is in."""

import asyncio
from collections.abc import Sequence
from typing import Any

from pelton.pipeline.request_queue import Chosen, QueuedRequest

LIMIT_S = 20
"""Far more than anything here takes; only a hang gets there."""


def place(name: str, tokens: int = 1) -> QueuedRequest[str]:
    return QueuedRequest(name, prompt_tokens=tokens - tokens // 2, max_new_tokens=tokens // 2, since=0.0)


def names(places: Sequence[QueuedRequest[str]]) -> list[str]:
    return [one.item for one in places]


def everything(places: Sequence[QueuedRequest[str]]) -> Chosen:
    return range(len(places)), None


def first(_: Sequence[QueuedRequest[str]]) -> Chosen:
    return (0,), None


async def settled(task: asyncio.Task[Any]) -> bool:
    """Whether the task is done after the loop had every chance to run it."""
    for _ in range(10):
        await asyncio.sleep(0)
    return task.done()
