"""A span for each commit: it sends the replies of many traces at once, and links to each of them."""

from collections.abc import Awaitable, Sequence

from pelton.pipeline.offsets import Progress
from pelton.pipeline.tracing import names
from pelton.pipeline.tracing.spans import Attributes, Kind, TraceHeaders, Traces
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.records import OutgoingRecord
from pelton.workers.delivery.transactions import PartitionWriter

MAX_LINKS = 128
"""What OpenTelemetry keeps of them by default."""


class TracedWriter:
    """A writer whose commits are seen in traces."""

    def __init__(self, writer: PartitionWriter, traces: Traces, request_topic: str) -> None:
        self._writer = writer
        self._traces = traces
        self._request_topic = request_topic

    async def open(self, *, one_by_one: bool = False) -> Progress | None:
        return await self._writer.open(one_by_one=one_by_one)

    async def publish(self, records: Sequence[OutgoingRecord], progress: Progress, current: Awaitable[bool]) -> None:
        attributes: Attributes = {
            names.MESSAGING_SYSTEM: names.KAFKA,
            names.OPERATION_NAME: "commit",
            names.OPERATION_TYPE: "send",
            names.DESTINATION: self._request_topic,
            names.BATCH_SIZE: len(records),
        }
        links = [trace for record in records if (trace := _trace_of(record))][:MAX_LINKS]
        span = self._traces.start(
            f"commit {self._request_topic}", Kind.PRODUCER, attributes, parent=(), links=links
        )  # fmt: skip
        try:
            await self._writer.publish(records, progress, current)
        except BaseException as error:
            span.end(error=type(error).__name__)
            raise
        span.end()

    async def close(self) -> None:
        await self._writer.close()


def _trace_of(record: OutgoingRecord) -> TraceHeaders:
    wanted = (contract.TRACEPARENT, contract.TRACESTATE)
    return [(name, value) for name, value in record.headers if name in wanted and value is not None]
