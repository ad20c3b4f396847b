"""Works on the batches of one partition: the partitions of the batches' topic are shared among the servers of a group.

A server that does not know yet that it has lost a partition is shut out by the next owner's writer.
"""

import asyncio
import logging
import time

from aiokafka.errors import KafkaError

from pelton.pipeline.backoff import Backoff
from pelton.producers.errors import ProducerError
from pelton.producers.http.batches.documents import KEPT_S, Batch, forget_records
from pelton.producers.http.batches.run import BatchRun, RunParts
from pelton.producers.http.batches.table import BatchTable
from pelton.producers.http.batches.writer import PartitionWriter

log = logging.getLogger(__name__)

LOOK_S = 1.0
RETRY_FIRST_S = 0.5
RETRY_MAX_S = 30.0


class Places:
    """How many more batches a server works on."""

    def __init__(self, most: int) -> None:
        self._free = most

    def take(self) -> bool:
        """Whether there was one; then it is to be given back."""
        taken = self._free > 0
        self._free -= taken
        return taken

    def give_back(self) -> None:
        self._free += 1


class PartitionOwner:
    """Works on the batches of one partition until cancelled."""

    def __init__(self, partition: int, table: BatchTable, parts: RunParts, places: Places) -> None:
        """`places` are for the batches that all owners of this server work on at once."""
        self._partition = partition
        self._table = table
        self._parts = parts
        self._places = places
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._retry_at: dict[str, float] = {}
        self._backoffs: dict[str, Backoff] = {}

    async def run(self) -> None:
        """Own for ever. After a failed transaction it begins anew with what the topic says."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
        topic = self._parts.settings.serve.batches_topic
        while True:
            writer = PartitionWriter(self._parts.settings.kafka, topic, self._partition, self._parts.spans())
            try:
                await writer.start()
                await self._table.caught_up([self._partition])
                backoff.reset()
                await self._serve(writer)
            except (KafkaError, OSError, TimeoutError, ProducerError, AssertionError) as error:
                # An assertion: aiokafka's producer, when the broker is only just coming back.
                log.warning("batches of partition %d begin anew: %r", self._partition, error)
            finally:
                await self._stop_all()
                await writer.stop()
            await asyncio.sleep(backoff.next_s())

    async def _serve(self, writer: PartitionWriter) -> None:
        while True:
            now = time.time()
            for batch in self._table.in_partition(self._partition):
                if batch.progress.settled:
                    if batch.order.expires_at + KEPT_S < now:
                        await writer.write(forget_records(batch.order.id))
                elif batch.order.id not in self._tasks and self._retry_at.get(batch.order.id, 0.0) <= now:
                    self._begin(batch, writer, now)
            await self._table.changed(LOOK_S)
            self._reap(now)

    def _begin(self, batch: Batch, writer: PartitionWriter, now: float) -> None:
        """Work on it where there is a place. One that is to be ended needs none: no cancel waits in line."""
        ending = batch.progress.ended or batch.cancelled_at is not None or batch.order.expires_at <= now
        if ending or self._places.take():
            task = asyncio.create_task(self._run(batch, writer))
            self._tasks[batch.order.id] = task
            if not ending:
                task.add_done_callback(lambda _: self._places.give_back())

    async def _run(self, batch: Batch, writer: PartitionWriter) -> None:
        # What an earlier run has written last may not have been read yet: from less, lines would be sent again.
        await self._table.caught_up([self._partition])
        await BatchRun(batch, self._parts, writer).run()

    def _reap(self, now: float) -> None:
        """Raises the `KafkaError` of a task: its writer is of no more use. What else fails is tried again later."""
        for batch_id, task in list(self._tasks.items()):
            if not task.done():
                continue
            del self._tasks[batch_id]
            error = task.exception()
            if isinstance(error, KafkaError | AssertionError):
                raise error
            if error is None:
                self._backoffs.pop(batch_id, None)
            else:
                wait_s = self._backoffs.setdefault(batch_id, Backoff(RETRY_FIRST_S, RETRY_MAX_S)).next_s()
                self._retry_at[batch_id] = now + wait_s
                log.error("batch %s stopped and goes on in %.1f s", batch_id, wait_s, exc_info=error)

    async def _stop_all(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()
