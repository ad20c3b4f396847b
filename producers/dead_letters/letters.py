"""Dead letters as an operator looks at them: read back from Spring's headers, and chosen by what they say."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pelton.pipeline.outside_text import shown
from pelton.pipeline.signatures import SIGNATURE, holds, sign
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.dead_letter import TRUNCATED
from pelton.pipeline.wire.records import Headers, Source

DLT_PREFIX = "kafka_dlt-"
ORIGINAL_TOPIC = "kafka_dlt-original-topic"
ORIGINAL_PARTITION = "kafka_dlt-original-partition"
ORIGINAL_OFFSET = "kafka_dlt-original-offset"
ORIGINAL_TIMESTAMP = "kafka_dlt-original-timestamp"
EXCEPTION_MESSAGE = "kafka_dlt-exception-message"

REPLAYED = "pelton-dlt-replayed"
REPLAYED_AS = "pelton-dlt-replayed-as"
"""Headers of the note that a replay leaves on the dead-letter topic: which letter, and which request it became."""

MAX_REASON_CHARS = 300
_PURPOSE = "replayed"
_PLACE = re.compile(r"([0-9]{1,9}):([0-9]{1,19})")
INTEGER_BYTES = (4, 8)
"""Lengths of the integers that Spring writes."""

_CODE = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True, order=True)
class LetterPosition:
    """Where a letter lies on its dead-letter topic: its identity there; written `partition:offset`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `ValueError`."""
        parts = _PLACE.fullmatch(text)
        if parts is None:
            raise ValueError(f"a place is written partition:offset, like 3:41, got {text[:64]!r}")
        return cls(int(parts[1]), int(parts[2]))


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record of a dead-letter topic. Times are Unix milliseconds: `timestamp_ms` is the letter's own.

    What its headers do not say is None; `code` is one of `pelton.pipeline.errors`, for letters of other software None.
    `headers` has all of them, and of a `truncated` letter neither key, value nor headers are the request's.
    """

    place: LetterPosition
    timestamp_ms: int
    origin: Source | None
    origin_timestamp_ms: int | None
    code: str | None
    message: str
    attempts: int | None
    correlation_id: bytes | None
    tenant: str | None
    key: bytes | None
    value: bytes | None
    headers: Headers
    truncated: bool


@dataclass(frozen=True, slots=True)
class Replayed:
    """The note that a letter was replayed: when (Unix milliseconds), and as which request, where that is known."""

    letter: LetterPosition
    timestamp_ms: int
    request: str | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant: those that fit every field that is not None.

    `partitions` are those of the request topic; times are the letter's own, Unix milliseconds, `since_ms` included and
    `until_ms` not; `text` is looked for in the message, in whatever case.
    """

    places: frozenset[LetterPosition] | None = None
    codes: frozenset[str] | None = None
    partitions: frozenset[int] | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    correlation_id: bytes | None = None
    tenant: str | None = None
    text: str | None = None

    def matches(self, letter: DeadLetter) -> bool:
        origin_partition = None if letter.origin is None else letter.origin.partition
        return (
            (self.places is None or letter.place in self.places)
            and (self.codes is None or letter.code in self.codes)
            and (self.partitions is None or origin_partition in self.partitions)
            and (self.since_ms is None or letter.timestamp_ms >= self.since_ms)
            and (self.until_ms is None or letter.timestamp_ms < self.until_ms)
            and (self.correlation_id is None or letter.correlation_id == self.correlation_id)
            and (self.tenant is None or letter.tenant == self.tenant)
            and (self.text is None or self.text.casefold() in letter.message.casefold())
        )


def last_values(headers: Headers) -> dict[str, bytes]:
    """Headers as the worker reads them: of a repeated one the last counts, and a null is no value."""
    return {name: value for name, value in dict(headers).items() if value is not None}


def note(letter: LetterPosition, request: str, secret: bytes | None) -> tuple[bytes, Headers]:
    """Key and headers of the note that a letter was replayed, as that request."""
    key, fields = f"replayed {letter}".encode(), (str(letter).encode(), request.encode())
    headers: list[tuple[str, bytes | None]] = list(zip((REPLAYED, REPLAYED_AS), fields, strict=True))
    if secret is not None:
        headers.append((SIGNATURE, sign(secret, _PURPOSE, (key, *fields))))
    return key, headers


def read_record(record: Any, secret: bytes | None = None) -> DeadLetter | Replayed:
    """What a record of a dead-letter topic (aiokafka's `ConsumerRecord`) is. Never fails, whoever wrote it.

    A note is known by what it lacks, too: a sender's own header of that name stays a header of a letter. It lies behind
    its letter on the same partition, so that none can be written beforehand; and where the group has a `secret` it is
    signed. What is no note is listed as a letter, so that somebody sees it.
    """
    last = last_values(record.headers)
    if REPLAYED not in last or ORIGINAL_TOPIC in last:
        return _letter(record, last)
    try:
        letter = LetterPosition.parse(_text(last[REPLAYED]))
    except ValueError:
        return _letter(record, last)
    fields = (record.key, last[REPLAYED], last.get(REPLAYED_AS))
    is_proven = secret is None or holds(last.get(SIGNATURE), secret, _PURPOSE, fields)
    if not is_proven or letter.partition != record.partition or letter.offset >= record.offset:
        return _letter(record, last)
    return Replayed(letter, record.timestamp, _text_or_none(last, REPLAYED_AS))


def unreadable(place: LetterPosition, error: Exception) -> DeadLetter:
    """What stands for a record that the Kafka client cannot read."""
    return DeadLetter(
        place=place,
        timestamp_ms=0,
        origin=None,
        origin_timestamp_ms=None,
        code="unreadable_record",
        message=f"The record at this place cannot be read: {shown(repr(error), MAX_REASON_CHARS)}.",
        attempts=None,
        correlation_id=None,
        tenant=None,
        key=None,
        value=None,
        headers=(),
        truncated=False,
    )


def _letter(record: Any, last: Mapping[str, bytes]) -> DeadLetter:
    origin = _origin(last)
    truncated = record.value is None and last.get(TRUNCATED) == b"true"
    code, message = _reason(_text(last.get(EXCEPTION_MESSAGE, b"")))
    attempts = _text(last.get(contract.ATTEMPT, b""))
    return DeadLetter(
        place=LetterPosition(record.partition, record.offset),
        timestamp_ms=record.timestamp,
        origin=origin,
        origin_timestamp_ms=_integer(last, ORIGINAL_TIMESTAMP),
        code=code,
        message=message,
        attempts=int(attempts) if re.fullmatch("[0-9]{1,9}", attempts) else None,
        correlation_id=None if truncated else _correlation_id(last, origin),
        tenant=_text_or_none(last, contract.TENANT),
        key=record.key,
        value=record.value,
        headers=record.headers,
        truncated=truncated,
    )


def _origin(last: Mapping[str, bytes]) -> Source | None:
    topic = _text_or_none(last, ORIGINAL_TOPIC)
    partition, offset = _integer(last, ORIGINAL_PARTITION), _integer(last, ORIGINAL_OFFSET)
    if topic is None or partition is None or offset is None:
        return None
    return Source(topic, partition, offset)


def _reason(text: str) -> tuple[str | None, str]:
    """A worker writes `code: message`; other software writes what it likes."""
    code, colon, message = text.partition(": ")
    return (code, message) if colon and _CODE.fullmatch(code) else (None, text)


def _correlation_id(last: Mapping[str, bytes], origin: Source | None) -> bytes | None:
    """As the worker has it: topic-partition-offset for a request without a header of its own."""
    place = None if origin is None else str(origin).encode()
    return last.get(contract.CORRELATION_ID) or last.get(contract.CORRELATION_ID_ALIAS) or place


def _integer(last: Mapping[str, bytes], name: str) -> int | None:
    raw = last.get(name, b"")
    return int.from_bytes(raw, "big", signed=True) if len(raw) in INTEGER_BYTES else None


def _text_or_none(last: Mapping[str, bytes], name: str) -> str | None:
    return _text(last[name]) if name in last else None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
