"""Replies to a batch's requests become results, as they come."""

import asyncio

from pelton.producers.batch.file import reply_outcome
from pelton.producers.batch.results import RunNames
from pelton.producers.http.batches.spool import Spool
from pelton.producers.kafka.reply_reader import ReplyReader
from pelton.producers.kafka.sender_spans import SenderSpans


class Collector:
    """Reads one reply partition; what is not of this batch, or a line's second reply, is left alone."""

    def __init__(self, reader: ReplyReader, names: RunNames, spool: Spool, spans: SenderSpans) -> None:
        self._spans = spans
        self._reader = reader
        self._names = names
        self._spool = spool
        self._changed = asyncio.Event()

    @property
    def count(self) -> int:
        """Requests that have a result."""
        return self._spool.count

    @property
    def answered(self) -> int:
        return self._spool.answered

    @property
    def failed(self) -> int:
        return self._spool.failed

    @property
    def unsaved_bytes(self) -> int:
        return self._spool.unsaved_bytes

    def has(self, line: int) -> bool:
        return line in self._spool

    async def run(self) -> None:
        """Collect for ever. Raises `RepliesUnreadable`."""
        async for replies in self._reader.batches():
            for reply in replies:
                line = self._names.line_of(reply.correlation_id)
                if line is not None and line not in self._spool:
                    outcome, answered = reply_outcome(reply)
                    self._spool.add(line, outcome, ok=answered)
                    self._spans.received(reply, self._reader.topic)
            self._changed.set()

    def refuse(self, line: int, outcome: bytes) -> None:
        """A line that is not sent has its result at once."""
        self._spool.add(line, outcome, ok=False)
        self._changed.set()

    async def wait_for_results(self, count: int) -> None:
        """Wait until at least so many requests have a result."""
        while self._spool.count < count:
            self._changed.clear()
            await self._changed.wait()

    def unsaved(self) -> tuple[bytes, int]:
        """The results that are not marked as saved, and the offset of the first reply that is in none."""
        return self._spool.unsaved(), self._reader.position

    def mark_saved(self, size: int) -> None:
        """So many bytes of `unsaved` are safe."""
        self._spool.mark_saved(size)
