"""Lines of a batch's input become request records, a chunk at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pelton.pipeline.errors import RequestTooLarge
from pelton.pipeline.settings.loading import Settings
from pelton.pipeline.wire.records import OutgoingRecord
from pelton.producers.batch.file import LineFault, RequestLine, refusal_outcome, requests_after
from pelton.producers.batch.results import RunNames
from pelton.producers.http.batches.documents import Order, Progress
from pelton.producers.kafka.request_sender import ReplyAddress, request_headers

CHUNK_LINES = 256
CHUNK_BYTES = 4_000_000
"""Requests of one transaction at most, and their bytes."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What is sent together: up to `last_line`, which ends at byte `end`. `refused` lines have an outcome already."""

    requests: list[OutgoingRecord]
    refused: list[tuple[int, bytes]]
    last_line: int
    end: int


class LineSender:
    """Reads on from where a batch's progress says."""

    def __init__(self, source: Path, order: Order, names: RunNames, settings: Settings, max_bytes: int) -> None:
        """`max_bytes` is the longest body that the request topic takes."""
        self._source = source
        self._order = order
        self._names = names
        self._kafka = settings.kafka
        self._tenants = settings.kafka.tenant_policy()
        self._max_bytes = max_bytes
        self._lines: Iterator[tuple[RequestLine, int]] | None = None

    def next_chunk(self, progress: Progress, *, room: int) -> Chunk | None:
        """At most `room` lines behind those that were sent; None at the end. Raises `BatchError`."""
        if self._lines is None:
            self._lines = requests_after(self._source, progress.sent, progress.sent_bytes)
        address = ReplyAddress(self._kafka.reply_topic, progress.reply_partition)
        requests: list[OutgoingRecord] = []
        refused: list[tuple[int, bytes]] = []
        size, last_line, end = 0, progress.sent, progress.sent_bytes
        while len(requests) + len(refused) < min(CHUNK_LINES, room) and size < CHUNK_BYTES:
            entry = next(self._lines, None)
            if entry is None:
                break
            line, end = entry
            last_line = line.number
            size += len(line.body)
            if (fault := self._fault(line)) is None:
                requests.append(self._record(line, address))
            else:
                refused.append((line.number, refusal_outcome(fault)))
        return Chunk(requests, refused, last_line, end) if last_line > progress.sent else None

    def _fault(self, line: RequestLine) -> LineFault | None:
        if line.fault is None and len(line.body) > self._max_bytes:
            message = f"The request has {len(line.body):,} bytes, more than the {self._max_bytes:,} that are taken."
            return LineFault(RequestTooLarge.code, message)
        return line.fault

    def _record(self, line: RequestLine, address: ReplyAddress) -> OutgoingRecord:
        headers = request_headers(
            self._names.correlation_id(line.number),
            address,
            tenant=self._order.tenant or None,
            deadline_ms=self._order.expires_at * 1000,
        )
        signed = self._tenants.signed("request", headers, line.body)
        return OutgoingRecord(self._kafka.request_topics[0], line.body, None, signed)
