"""How far one batch has come, and every step of it told to Kafka before it counts."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from pelton.pipeline.wire.records import OutgoingRecord
from pelton.producers.http.batches.documents import Order, Progress, Status, progress_record
from pelton.producers.http.batches.writer import PartitionWriter

SETTLE_S = 5.0
"""How long a run that stops waits for what it has begun."""


class BatchState:
    """Lives on the event loop. `progress` is what Kafka has."""

    def __init__(self, order: Order, progress: Progress, writer: PartitionWriter) -> None:
        self.order = order
        self._progress = progress
        self._writer = writer
        self._one_at_a_time = asyncio.Lock()
        self._begun: set[asyncio.Task[None]] = set()

    @property
    def progress(self) -> Progress:
        return self._progress

    @property
    def max_request_bytes(self) -> int:
        return self._writer.max_request_bytes

    async def advance(self, status: Status, **changes: Any) -> None:
        """Write a new status and its time. Raises `KafkaError`."""
        times = {**self._progress.times, status.value: int(time.time())}
        await self.write(status=status, times=times, **changes)

    async def write(self, sending: Sequence[OutgoingRecord] = (), **changes: Any) -> None:
        """Make a change true, in one transaction with what is sent. Raises `KafkaError`.

        A transaction that has begun is finished, whoever stops waiting for it.
        """
        await self.whole(self._write(sending, changes))

    async def whole(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what must not be left half done, whoever stops waiting for it."""
        task = asyncio.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        task.add_done_callback(_seen)
        await asyncio.shield(task)

    async def settled(self) -> None:
        """Wait for what has begun, for a while."""
        if self._begun:
            await asyncio.wait(self._begun, timeout=SETTLE_S)

    async def _write(self, sending: Sequence[OutgoingRecord], changes: dict[str, Any]) -> None:
        async with self._one_at_a_time:
            progress = replace(self._progress, **changes)
            await self._writer.write([progress_record(self.order.id, progress)], sending)
            self._progress = progress


def _seen(task: asyncio.Task[None]) -> None:
    """An error that nobody waits for any more is no news: the writer has failed for everybody."""
    if not task.cancelled():
        task.exception()
