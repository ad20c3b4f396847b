"""A batch on its way: lines go out, acknowledgements into the journal, replies into the output, all at once."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pelton.pipeline.errors import RequestTooLarge
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.batch.file import LineFault, RequestLine, answered_line, read_requests, refused_line
from pelton.producers.batch.journal import Journal
from pelton.producers.batch.limits import Pace, TokenCap, tokens_of
from pelton.producers.batch.results import LineState, Results, RunNames
from pelton.producers.kafka.cancel_sender import CancelSender
from pelton.producers.kafka.reply_reader import ReplyReader
from pelton.producers.kafka.request_sender import ReplyAddress, RequestSender, request_headers
from pelton.producers.replies import Reply

CHECKPOINT_S = 2.0
"""How much of the replies, in time, a run that goes on may have to read again."""
AT_A_TIME = 256
"""Lines of an earlier run that are passed over before anything else gets its turn."""


@dataclass(slots=True)
class Batch:
    """Where a batch stands. `waiting` has the `custom_id` of every line that is sent and not answered."""

    source: Path
    requests: int
    names: RunNames
    journal: Journal
    results: Results
    states: bytearray
    waiting: dict[int, str | None]
    sent: int = 0
    """By this process."""


@dataclass(slots=True)
class InFlight:
    """What a batch has sent and not seen answered; to be read also after its run was broken off."""

    _batch: Batch | None = None

    def follow(self, batch: Batch) -> None:
        """From now on it is that of `batch`."""
        self._batch = batch

    def __len__(self) -> int:
        return 0 if self._batch is None else len(self._batch.waiting)

    async def cancel(self, kafka: KafkaSettings) -> int:
        """Have the workers end it with `cancelled`; return how many cancels Kafka has. Raises `BrokerUnreachable`."""
        if self._batch is None:
            return 0
        sender = CancelSender(kafka)
        await sender.start()
        try:
            return await sender.cancel([self._batch.names.correlation_id(line) for line in self._batch.waiting])
        finally:
            await sender.stop()


class BatchRun:
    """Sends what is unsent and takes in replies until every line has its result.

    At most `max_in_flight` lines are sent and unanswered; that is also what is held in memory. `on_change` is called
    whenever something has moved.
    """

    def __init__(  # noqa: PLR0913  # where the batch stands, what it goes through, and how hard
        self,
        batch: Batch,
        sender: RequestSender,
        reader: ReplyReader,
        *,
        max_in_flight: int,
        on_change: Callable[[], None],
        pace: Pace | None = None,
        cap: TokenCap | None = None,
    ) -> None:
        self._batch = batch
        self._sender = sender
        self._reader = reader
        self._address = ReplyAddress(reader.topic, reader.partition)
        self._max_in_flight = max_in_flight
        self._on_change = on_change
        self._pace = pace
        self._cap = cap
        if cap is not None:
            for number in batch.waiting:
                cap.sent(number, 0)
        self._answered = asyncio.Event()
        self._posted: asyncio.Queue[tuple[int, asyncio.Future[Any]] | None] = asyncio.Queue(max_in_flight)

    async def run(self) -> None:
        """Raises `SendFailed` or `BatchError`, and what reading replies raises."""
        try:
            async with asyncio.TaskGroup() as group:
                receiving = group.create_task(self._receive())
                confirming = group.create_task(self._confirm())
                await self._send()
                await confirming
                await self._until_waiting_fewer_than(1)
                receiving.cancel()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _send(self) -> None:
        """Lines sent earlier are read too, for their `custom_id`; replies are taken in meanwhile."""
        for line in read_requests(self._batch.source):
            if self._batch.states[line.number] != LineState.UNSENT:
                if line.number % AT_A_TIME == 0:
                    await asyncio.sleep(0)
                continue
            await self._until_waiting_fewer_than(self._max_in_flight)
            if line.fault is None:
                if not await self._within_cap(line):
                    break
                await self._post(line)
            else:
                self._refuse(line, line.fault)
        await self._posted.put(None)

    async def _within_cap(self, line: RequestLine) -> bool:
        """Wait for answers, which may have used less than was reserved for them, until there is room for one more."""
        if self._cap is None:
            return True
        while not self._cap.admits(len(line.body)):
            if not self._batch.waiting:
                return False
            self._answered.clear()
            await self._answered.wait()
        self._cap.sent(line.number, len(line.body))
        return True

    async def _post(self, line: RequestLine) -> None:
        if self._pace is not None:
            await self._pace.wait()
        self._batch.waiting[line.number] = line.custom_id  # before it is sent: the reply may be quick
        headers = request_headers(self._batch.names.correlation_id(line.number), self._address)
        try:
            future = await self._sender.post(line.body, headers)
        except RequestTooLarge as error:
            self._refuse(line, LineFault(error.code, error.message))
        else:
            await self._posted.put((line.number, future))

    async def _confirm(self) -> None:
        """In the order of sending, and so, for each partition, in the order of offsets: the journal relies on it."""
        while (posted := await self._posted.get()) is not None:
            number, future = posted
            place = await self._sender.acknowledgement(future)
            self._batch.journal.acknowledged(number, place)
            self._batch.sent += 1
            self._on_change()

    async def _receive(self) -> None:
        last_checkpoint = time.monotonic()
        async for replies in self._reader.batches():
            lines = [line for line in map(self._accept, replies) if line is not None]
            if lines:
                self._batch.results.add(lines)
                self._moved()
            if time.monotonic() - last_checkpoint > CHECKPOINT_S:
                self._batch.results.sync()
                self._batch.journal.checkpoint(self._batch.results.count, self._reader.position)
                last_checkpoint = time.monotonic()

    def _accept(self, reply: Reply) -> tuple[bytes, bool] | None:
        """The output line of a reply; None when it is not ours, or a line's second."""
        number = self._batch.names.line_of(reply.correlation_id)
        if number is None or number not in self._batch.waiting:
            return None
        custom_id = self._batch.waiting.pop(number)
        self._sender.spans.received(reply, self._reader.topic)
        if self._cap is not None:
            self._cap.answered(number, tokens_of(reply))
        return answered_line(self._batch.names.result_id(number), custom_id, reply)

    def _refuse(self, line: RequestLine, fault: LineFault) -> None:
        self._batch.waiting.pop(line.number, None)
        if self._cap is not None:
            self._cap.answered(line.number, 0)
        result = refused_line(self._batch.names.result_id(line.number), line.custom_id, fault)
        self._batch.results.add([(result, False)])
        self._moved()

    def _moved(self) -> None:
        self._answered.set()
        self._on_change()

    async def _until_waiting_fewer_than(self, limit: int) -> None:
        while len(self._batch.waiting) >= limit:
            self._answered.clear()
            await self._answered.wait()
