"""One batch from its validation to its files, by the owner of its partition.

Every step is told to Kafka before it counts. Lines are sent in the same transaction as the progress that says so; the
results of replies are saved in the storage before the progress that points behind those replies. So an owner that dies
anywhere leaves a state from which the next one goes on, and sends nothing twice.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pelton.pipeline.settings.loading import Settings
from pelton.pipeline.tracing.spans import Traces
from pelton.producers.batch.results import RunNames
from pelton.producers.http.batches.checking import check_input
from pelton.producers.http.batches.collecting import Collector
from pelton.producers.http.batches.documents import Batch, Fault, Progress, Status
from pelton.producers.http.batches.ending import BatchEnding
from pelton.producers.http.batches.sending import LineSender
from pelton.producers.http.batches.spool import Spool
from pelton.producers.http.batches.state import BatchState
from pelton.producers.http.batches.writer import PartitionWriter
from pelton.producers.http.errors import NotFound
from pelton.producers.http.file_store import FileStore, new_file_id
from pelton.producers.kafka.cancel_sender import CancelSender
from pelton.producers.kafka.reply_reader import ReplyReader
from pelton.producers.kafka.sender_spans import SenderSpans

TICK_S = 1.0
"""How often a running batch is looked at: cancelled, expired, anything to save?"""
SAVE_S = 20.0
SAVE_BYTES = 8_000_000
"""Results are saved when so many have gathered, or after so long: so many replies are read again after a crash."""
LET_GO_S = 30.0
"""How long a cancelled or expired batch waits for the replies to what is on its way."""


@dataclass(frozen=True, slots=True)
class RunParts:
    """What the batches of a server share."""

    settings: Settings
    store: FileStore
    cancels: CancelSender
    traces: Traces | None = None

    def spans(self) -> SenderSpans:
        """Of their requests."""
        return SenderSpans(self.traces, self.settings.kafka.request_topics[0])


class BatchRun:
    """Lives on the event loop. Cancel the task that runs it to stop; what counts is in Kafka."""

    def __init__(self, batch: Batch, parts: RunParts, writer: PartitionWriter) -> None:
        self._batch = batch
        self._order = batch.order
        self._parts = parts
        self._state = BatchState(batch.order, batch.progress, writer)
        self._ending = BatchEnding(self._state, parts.store, parts.settings.webhook)
        self._names = RunNames(batch.order.id)
        self._one_save = asyncio.Lock()

    @property
    def _progress(self) -> Progress:
        return self._state.progress

    async def run(self) -> None:
        """Raises `KafkaError` when the writer is of no more use, `OSError` or `ProducerError` to be tried again."""
        was_ended = self._progress.ended
        try:
            if not was_ended:
                await self._to_its_end()
            if not self._progress.cleared:
                await self._ending.clear()
            if was_ended and self._progress.untold:  # else in a run of its own, which takes no place
                await self._ending.tell()
        finally:
            await self._state.settled()

    async def _to_its_end(self) -> None:
        try:
            async with self._input() as source:
                if self._progress.status is Status.VALIDATING:
                    await self._validate(source)
                if self._progress.status in {Status.IN_PROGRESS, Status.FINALIZING}:
                    await self._carry_on(source)
        except NotFound:
            fault = Fault("input_file_missing", f"The input file {self._order.input_file_id} is gone.")
            await self._ending.end(Status.FAILED, faults=(fault,))

    @asynccontextmanager
    async def _input(self) -> AsyncIterator[Path]:
        local = self._parts.store.as_local(self._order.tenant, self._order.input_file_id)
        path = await asyncio.to_thread(local.__enter__)
        try:
            yield path
        finally:
            await asyncio.to_thread(local.__exit__, None, None, None)

    async def _validate(self, source: Path) -> None:
        limit = self._parts.settings.serve.max_batch_requests
        checked = await asyncio.to_thread(check_input, source, max_requests=limit)
        if checked.faults:
            await self._ending.end(Status.FAILED, requests=checked.requests, faults=checked.faults)
            return
        reader = ReplyReader(self._parts.settings.kafka)
        await reader.start()
        await reader.stop()
        await self._state.advance(
            Status.IN_PROGRESS,
            requests=checked.requests,
            lines=checked.lines,
            reply_partition=reader.partition,
            reply_offset=reader.position,
        )

    async def _carry_on(self, source: Path) -> None:
        with Spool(self._progress.lines) as spool:
            for part in self._progress.parts:
                spool.load(await asyncio.to_thread(self._parts.store.part, self._order.id, part))
            if self._progress.status is Status.IN_PROGRESS:
                await self._carry_out(source, spool)
            await self._ending.finalize(source, spool, self._names)

    async def _carry_out(self, source: Path, spool: Spool) -> None:
        """Send what is unsent and collect replies, until all are there or the batch is to end."""
        kafka = self._parts.settings.kafka
        reader = ReplyReader(kafka, partition=self._progress.reply_partition, start=self._progress.reply_offset)
        collector = Collector(reader, self._names, spool, self._parts.spans())
        sender = LineSender(source, self._order, self._names, self._parts.settings, self._state.max_request_bytes)
        try:
            await reader.start()
            async with asyncio.TaskGroup() as tasks:
                receiving = tasks.create_task(collector.run())
                sending = tasks.create_task(self._send(sender, collector))
                outcome = await self._watch(collector)
                sending.cancel()
                if outcome is not Status.COMPLETED:
                    await self._let_go(collector)
                receiving.cancel()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            await reader.stop()
        await self._save(collector)
        await self._state.advance(
            Status.FINALIZING, outcome=outcome, output_file_id=new_file_id(), error_file_id=new_file_id()
        )

    async def _send(self, sender: LineSender, collector: Collector) -> None:
        most = self._parts.settings.serve.max_in_flight
        while self._batch.cancelled_at is None:
            sent = self._progress.sent_requests
            # Not for every single reply: a transaction costs the broker more than a request.
            await collector.wait_for_results(sent - most + max(1, most // 4))
            chunk = sender.next_chunk(self._progress, room=most - (sent - collector.count))
            if chunk is None:
                return
            for line, outcome in chunk.refused:
                collector.refuse(line, outcome)
            if chunk.refused:  # no reply will tell of them: saved before the progress that passes them
                await self._save(collector)
            await self._state.write(
                chunk.requests,
                sent=chunk.last_line,
                sent_bytes=chunk.end,
                sent_requests=sent + len(chunk.requests) + len(chunk.refused),
            )

    async def _watch(self, collector: Collector) -> Status:
        """Wait until the batch is to end, and save now and then. Returns what it will be."""
        saved_at = told = time.monotonic()
        counted = collector.count
        while collector.count < self._progress.requests:
            if self._batch.cancelled_at is not None:
                return Status.CANCELLED
            if time.time() >= self._order.expires_at:
                return Status.EXPIRED
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await collector.wait_for_results(self._progress.requests)
            now = time.monotonic()
            if collector.unsaved_bytes >= SAVE_BYTES or (collector.unsaved_bytes and now - saved_at >= SAVE_S):
                await self._save(collector)
                saved_at = told = now
            elif collector.count != counted and now - told >= TICK_S:
                await self._state.write(answered=collector.answered, failed=collector.failed)
                told = now
            counted = collector.count
        return Status.COMPLETED

    async def _let_go(self, collector: Collector) -> None:
        """Cancel what is on its way, and wait for its replies, for a while."""
        open_lines = (line for line in range(1, self._progress.sent + 1) if not collector.has(line))
        await self._parts.cancels.cancel(map(self._names.correlation_id, open_lines), self._order.tenant)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LET_GO_S):
                await collector.wait_for_results(self._progress.sent_requests)

    async def _save(self, collector: Collector) -> None:
        """Put new results into the storage, and point behind their replies. Comes to its end as a write does."""
        await self._state.whole(self._save_in_turn(collector))

    async def _save_in_turn(self, collector: Collector) -> None:
        """One at a time: a second one would point behind the replies whose results the first has not saved yet."""
        async with self._one_save:
            part, reply_offset = collector.unsaved()
            if not part:
                return
            answered, failed = collector.answered, collector.failed
            name = f"{len(self._progress.parts):06d}-{secrets.token_hex(4)}"
            await asyncio.to_thread(self._parts.store.put_part, self._order.id, name, part)
            parts = (*self._progress.parts, name)
            await self._state.write(parts=parts, reply_offset=reply_offset, answered=answered, failed=failed)
            collector.mark_saved(len(part))
