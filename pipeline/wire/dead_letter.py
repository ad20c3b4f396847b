"""The dead letter of a record that could not be answered: the record as it was, and why, in Spring Kafka's headers."""

from pelton.pipeline.errors import PeltonError
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.records import OutgoingRecord, RequestRecord

_TIMESTAMP_TYPES = {0: b"CreateTime", 1: b"LogAppendTime"}
TRUNCATED = "pelton-dlt-truncated"
"""Marks a dead letter without the record's value, key and headers: they were more than the topic takes."""


def dead_letter(record: RequestRecord, error: PeltonError, group_id: str, attempt: int = 1) -> OutgoingRecord:
    """Integers are big-endian, 4 bytes for the partition, 8 for offset and timestamp, as Spring writes them.

    `attempt` says how many there were; Spring has no header for it, so it goes by the name that replies have it under.
    The partition is left to the key: a dead-letter topic need not have as many as its origin.
    """
    topic = contract.dead_letter_topic(record.source.topic)
    reason = [*_reason(record, error, group_id), (contract.ATTEMPT, str(attempt).encode())]
    kept = [(name, value) for name, value in record.headers if not name.startswith(("kafka_dlt-", contract.ATTEMPT))]
    identity = str(record.source).encode()  # aiokafka sends no record that has neither key nor value
    truncated = OutgoingRecord(topic, None, identity, [*reason, (TRUNCATED, b"true")])
    key = identity if record.key is None and record.value is None else record.key
    return OutgoingRecord(topic, record.value, key, [*kept, *reason], fallback=truncated)


def _reason(record: RequestRecord, error: PeltonError, group_id: str) -> list[tuple[str, bytes]]:
    source = record.source
    return [
        ("kafka_dlt-original-topic", source.topic.encode()),
        ("kafka_dlt-original-partition", source.partition.to_bytes(4, "big", signed=True)),
        ("kafka_dlt-original-offset", source.offset.to_bytes(8, "big", signed=True)),
        ("kafka_dlt-original-timestamp", record.timestamp_ms.to_bytes(8, "big", signed=True)),
        ("kafka_dlt-original-timestamp-type", _TIMESTAMP_TYPES.get(record.timestamp_type, b"NoTimestampType")),
        ("kafka_dlt-original-consumer-group", group_id.encode()),
        ("kafka_dlt-exception-fqcn", f"pelton.errors.{type(error).__name__}".encode()),
        ("kafka_dlt-exception-message", f"{error.code}: {error.message}".encode()),
    ]
