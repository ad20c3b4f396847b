"""Writes partial text to the stream topic: beside the replies, outside their transactions, and never in their way.

Tokens come from the inference thread into memory; a task turns what has gathered into text and sends it. Whatever goes
wrong here costs pieces of text that the committed reply has as well.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer

from pelton.pipeline.kafka.clients import start_client, stop_producer
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire import contract
from pelton.workers.engine.api import Completion, Outcome
from pelton.workers.kafka.topics import TopicDirectory
from pelton.workers.notices import Notice
from pelton.workers.prepare.codec import Codec
from pelton.workers.requests import PreparedRequest, TokenListener
from pelton.workers.streaming.stable_text import StableText

log = logging.getLogger(__name__)

GATHER_S = 0.03
"""How long tokens gather before they are sent: too short to be seen, and few enough records for a fast engine."""
CLOSE_S = 2.0
RETRY_S = 1.0


@dataclass(slots=True, eq=False)
class _Watched:
    """Implements `TokenListener`: one attempt at an answer. `number` counts the pieces that were sent."""

    job: PreparedRequest
    attempt: int
    stable: StableText
    wake: Callable[["_Watched"], None]
    tokens: list[int] = field(default_factory=list)
    written: str | None = None
    complete: bool = False
    dropped: bool = False
    number: int = 0

    def token(self, place: int, token_id: int) -> None:
        del self.tokens[place:]
        self.tokens.append(token_id)
        self.wake(self)

    def text(self, so_far: str) -> None:
        self.written = so_far
        self.wake(self)

    def ended(self, outcome: Outcome) -> None:
        if isinstance(outcome, Completion) and self.written is not None:
            self.complete = True
        elif isinstance(outcome, Completion) and outcome.written is None:
            self.tokens = list(outcome.token_ids)
            self.complete = True
        else:
            self.dropped = True
        self.wake(self)


@dataclass(frozen=True, slots=True)
class _Piece:
    watched: _Watched
    number: int
    at: int
    content: str


class StreamWriter:
    """Lives on the event loop; `listen` and what it returns are for the inference thread."""

    def __init__(self, kafka: KafkaSettings, codec: Codec, directory: TopicDirectory, model: str) -> None:
        self._kafka = kafka
        self._codec = codec
        self._directory = directory
        self._model = model
        self._lock = threading.Lock()
        self._changed: dict[_Watched, None] = {}
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._trouble = Notice(log)

    def listen(self, job: PreparedRequest, attempt: int) -> TokenListener | None:
        """Who follows an attempt. Of several answers to one prompt, or one that may be generated anew, nobody does."""
        if job.delivery.envelope.stream_topic is None or (job.request.n or 1) > 1:
            return None
        if job.form is not None and job.form.schema is not None:
            return None
        return _Watched(job, attempt, StableText(job.request.stop_strings), self._wake)

    async def run(self) -> None:
        """Send for ever. Where nobody wants text, this waits and has no connection to Kafka."""
        if self._kafka.stream_topic is None:
            await asyncio.Event().wait()
        while True:
            await self._arrived.wait()
            producer = AIOKafkaProducer(**self._kafka.client_options(), acks=1)
            try:
                await start_client(producer)
                await self._send_on(producer)
            except Exception as error:  # noqa: BLE001  # the committed replies have it all: nothing here ends a worker
                self._trouble.say("partial text is not sent, trying again: %r", error)
                self._drop_all()
                await asyncio.sleep(RETRY_S)
            finally:
                await stop_producer(producer, CLOSE_S)

    async def _send_on(self, producer: AIOKafkaProducer) -> None:
        while True:
            await self._arrived.wait()
            await asyncio.sleep(GATHER_S)
            with self._lock:
                self._arrived.clear()
                changed, self._changed = list(self._changed), {}
            for piece in await asyncio.to_thread(self._pieces, changed):
                await self._send(producer, piece)
            self._trouble.over("partial text is sent again")

    def _wake(self, watched: _Watched) -> None:
        with self._lock:
            first = not self._changed
            self._changed[watched] = None
        if first:
            self._loop.call_soon_threadsafe(self._arrived.set)

    def _drop_all(self) -> None:
        with self._lock:
            self._arrived.clear()
            self._changed.clear()

    def _pieces(self, changed: Sequence[_Watched]) -> list[_Piece]:
        """Decodes, so it is called on a thread. What cannot be decoded is left to the reply."""
        found = []
        for watched in changed:
            try:
                piece = self._piece(watched)
            except Exception:
                log.exception("the text of %s cannot be streamed", watched.job.delivery.record.source)
                watched.dropped = True
                continue
            if piece is not None:
                found.append(piece)
        return found

    def _piece(self, watched: _Watched) -> _Piece | None:
        if watched.dropped:
            return None
        complete = watched.complete  # before the text is read: what is not complete now may be in a moment
        at = len(watched.stable.told)
        text = self._text(watched, complete=complete)
        content = watched.stable.finish(text) if complete else watched.stable.advance(text)
        if not content:
            return None
        watched.number += 1
        return _Piece(watched, watched.number - 1, at, content)

    def _text(self, watched: _Watched, *, complete: bool) -> str:
        if watched.written is not None:
            return watched.written
        return self._codec.content(tuple(watched.tokens), watched.job.request, watched.job.prompt, complete=complete)

    async def _send(self, producer: AIOKafkaProducer, piece: _Piece) -> None:
        envelope = piece.watched.job.delivery.envelope
        topic = envelope.stream_topic or ""
        partitions = await self._directory.partitions(topic)
        if partitions is None:
            self._trouble.say("partial text is not sent: there is no topic %s", topic)
            return
        value = {
            "number": piece.number,
            "at": piece.at,
            "content": piece.content,
            "attempt": piece.watched.attempt,
            "model": self._model,
        }
        headers = [*((name, envelope.correlation_id) for name in envelope.id_headers),
                   (contract.SOURCE, str(envelope.source).encode())]  # fmt: skip
        if envelope.tenant:
            headers.append((contract.TENANT, envelope.tenant.encode()))
        partition = (envelope.reply_partition or 0) % partitions
        key, told = envelope.correlation_id, orjson.dumps(value)
        sent = await producer.send(topic, told, key, partition=partition, headers=headers)
        sent.add_done_callback(self._sent)

    def _sent(self, sent: asyncio.Future[Any]) -> None:
        if not sent.cancelled() and (error := sent.exception()) is not None:
            self._trouble.say("partial text was not taken: %r", error)
