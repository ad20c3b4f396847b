"""A request record as the rest of the worker sees it: where it came from, where its reply goes."""

from collections.abc import Sequence
from dataclasses import dataclass

Headers = Sequence[tuple[str, bytes | None]]
"""Kafka's header values may be null."""


@dataclass(frozen=True, slots=True)
class Source:
    """The record's place in Kafka: its identity for ever."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}-{self.offset}"


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request as fetched: `timestamp_ms` is Kafka's (Unix milliseconds, of the kind `timestamp_type` says)."""

    source: Source
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int
    timestamp_type: int


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """A record to send; `partition` None lets the key decide, `fallback` is sent where this one is too large.

    `timestamp_ms` is Unix milliseconds; None: when it is sent.
    """

    topic: str
    value: bytes | None
    key: bytes | None
    headers: Headers
    partition: int | None = None
    fallback: "OutgoingRecord | None" = None
    timestamp_ms: int | None = None
