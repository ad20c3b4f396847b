"""What is sent on, made to fit the topic that it goes to."""

from collections.abc import Mapping
from dataclasses import replace

from pelton.pipeline.wire import contract
from pelton.pipeline.wire.records import OutgoingRecord, RequestRecord
from pelton.producers.kafka.cluster import Topic

FRAMING_BYTES = 160
"""What a batch of one record takes beside key, value and headers, at most."""
_HEADER_BYTES = 10
"""For the lengths of a header's name and value."""


def fitted(record: OutgoingRecord, request: RequestRecord, topics: Mapping[str, Topic]) -> OutgoingRecord:
    """With a partition that its topic has; one that is too large for the topic without its body, for a worker to refuse
    by name. The request itself stays where it is for as long as its own topic keeps it.
    """
    topic = topics[record.topic]
    placed = replace(record, partition=(record.partition or 0) % topic.partitions)
    if _size(record) <= topic.max_message_bytes:
        return placed
    cause = (
        f"with the router's headers it is larger than the {topic.max_message_bytes:,} bytes that topic {record.topic} "
        f"takes (max.message.bytes), so only its headers were sent on from {request.source}"
    )
    kept = [(name, value) for name, value in record.headers if name.startswith(("kafka_", "pelton-", "correlation"))]
    return replace(placed, value=None, key=record.key or b"-", headers=[*kept, (contract.UNREADABLE, cause.encode())])


def _size(record: OutgoingRecord) -> int:
    headers = sum(len(name.encode()) + len(value or b"") + _HEADER_BYTES for name, value in record.headers)
    return FRAMING_BYTES + len(record.key or b"") + len(record.value or b"") + headers
