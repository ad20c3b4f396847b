"""Suspicions as records of the suspects topic: written, and read with no more trust than they deserve.

Whoever may write to that topic could otherwise keep any request from being answered. Two things bound what a record can
do. *Plausibility*, always: its fields are of the right type and range, it is about a topic of ours, and it is not older
than the request it is about (`SuspectTable.get`), so that nothing condemns a request that was not there yet. *A
signature*, where the group has a secret (`kafka.group_secret`): what has none that holds is ignored. Without a
secret the right to write to the topic is the workers' alone to have, which only the broker can see to.
"""

import time
from dataclasses import dataclass
from typing import Any, Self

import orjson
from aiokafka import ConsumerRecord

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.signatures import SIGNATURE, group_secret, holds, sign
from pelton.pipeline.wire.records import Headers, Source
from pelton.workers.quarantine.crash_history import CrashHistory

MAX_RECORD_BYTES = 4_096
"""Of key and value together: group and topic names of Kafka's longest make about a fifth of it."""
MAX_CRASHES = 1_000_000
MAX_TOGETHER = 1_000_000
_MAX_PARTITION, _MAX_OFFSET = 2**31 - 1, 2**63 - 1
_PURPOSE = "suspect"
_BROKERS_CLOCK = 1
"""Kafka's number for LogAppendTime."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """`blame` is None where a suspicion is withdrawn; `written_ms` is the record's time (Unix)."""

    source: Source
    blame: CrashHistory | None
    written_ms: int


@dataclass(frozen=True, slots=True)
class SuspectRecords:
    """The records of one group."""

    group_id: str
    topics: frozenset[str]
    secret: bytes | None = None

    @classmethod
    def of(cls, kafka: KafkaSettings) -> Self:
        return cls(kafka.group_id, frozenset(kafka.request_topics), group_secret(kafka))

    def write(self, source: Source, blame: CrashHistory | None) -> tuple[bytes, bytes | None, Headers]:
        """Key, value and headers of a record; the key is the group's too, as each has its own experience."""
        key = orjson.dumps([self.group_id, source.topic, source.partition, source.offset])
        value = None if blame is None else orjson.dumps(blame)
        if self.secret is None:
            return key, value, []
        return key, value, [(SIGNATURE, sign(self.secret, _PURPOSE, (key, value)))]

    def read(self, record: ConsumerRecord) -> Suspicion | None:
        """What a record says; None where it is about another group's requests. Raises `ValueError`."""
        if len(record.key or b"") + len(record.value or b"") > MAX_RECORD_BYTES:
            raise ValueError(f"it has more than {MAX_RECORD_BYTES:,} bytes")
        group_id, source = _read_key(record.key or b"")
        if group_id != self.group_id or source.topic not in self.topics:
            return None
        signature = dict(record.headers).get(SIGNATURE)
        if self.secret is not None and not holds(signature, self.secret, _PURPOSE, (record.key, record.value)):
            raise ValueError("it is not signed with kafka.group_secret")
        return Suspicion(source, None if record.value is None else _read_value(record.value), _written_ms(record))


def _written_ms(record: ConsumerRecord) -> int:
    """When it was written; where the writer says it and not the broker, not later than now."""
    stamped: int = record.timestamp
    return stamped if record.timestamp_type == _BROKERS_CLOCK else min(stamped, round(time.time() * 1000))


def _read_key(key: bytes) -> tuple[str, Source]:
    match orjson.loads(key):
        case [str(group_id), str(topic), partition, offset]:
            where = _whole("partition", partition, 0, _MAX_PARTITION), _whole("offset", offset, 0, _MAX_OFFSET)
            return group_id, Source(topic, *where)
    raise ValueError("its key is not a suspect's")


def _read_value(value: bytes) -> CrashHistory:
    """Fields of later versions are ignored."""
    match orjson.loads(value):
        case {"crashes": crashes, "together": together, "alone": alone}:
            total = _whole("crashes", crashes, 1, MAX_CRASHES)
            return CrashHistory(total, _whole("together", together, 1, MAX_TOGETHER), _whole("alone", alone, 0, total))
    raise ValueError("its value is not a suspicion's")


def _whole(name: str, value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"its {name} is not a whole number from {least:,} to {most:,}")
    return value
