"""The dead letter of a record that could not be answered: the record as it was, and why, in Spring Kafka's headers."""

from pipeline import contract
from pipeline.errors import PeltonError
from pipeline.records import OutgoingRecord, RequestRecord

_TIMESTAMP_TYPES = {0: b"CreateTime", 1: b"LogAppendTime"}


def dead_letter(record: RequestRecord, error: PeltonError, group_id: str) -> OutgoingRecord:
    """Integers are big-endian, 4 bytes for the partition, 8 for offset and timestamp, as Spring writes them.

    The partition is left to the key: a dead-letter topic need not have as many as its origin.
    """
    source = record.source
    headers = [
        *((name, value) for name, value in record.headers if not name.startswith("kafka_dlt-")),
        ("kafka_dlt-original-topic", source.topic.encode()),
        ("kafka_dlt-original-partition", source.partition.to_bytes(4, "big", signed=True)),
        ("kafka_dlt-original-offset", source.offset.to_bytes(8, "big", signed=True)),
        ("kafka_dlt-original-timestamp", record.timestamp_ms.to_bytes(8, "big", signed=True)),
        ("kafka_dlt-original-timestamp-type", _TIMESTAMP_TYPES.get(record.timestamp_type, b"NoTimestampType")),
        ("kafka_dlt-original-consumer-group", group_id.encode()),
        ("kafka_dlt-exception-fqcn", f"{type(error).__module__}.{type(error).__qualname__}".encode()),
        ("kafka_dlt-exception-message", f"{error.code}: {error.message}".encode()),
    ]
    return OutgoingRecord(contract.dead_letter_topic(source.topic), record.value, record.key, headers)
