"""Kafka's record batches (format 2) as bytes: their header, their records, and how both are written.

Reading is lenient where aiokafka is not: a record that is wrong in itself is told apart from its neighbours.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from aiokafka.record.util import calc_crc32c, encode_varint

_HEAD = struct.Struct(">qiibIhiqqqhii")
_FROM_ATTRIBUTES = struct.Struct(">hiqqqhii")
HEAD_BYTES = _HEAD.size
LENGTH_ENDS = 12
"""Base offset and length: what a batch's length does not count."""
MAGIC = 2
_MAX_SHIFT = 63
CODEC_MASK, CONTROL = 0x07, 0x20

Header = tuple[bytes, bytes | None]


class Damaged(ValueError):
    """The bytes are not what the format says."""


@dataclass(frozen=True, slots=True)
class Head:
    """A batch's header. Offsets of records count from `base_offset`, the last one being at `last_delta`."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_delta: int
    first_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records: int

    @classmethod
    def read(cls, data: bytes) -> "Head":
        """Raises `Damaged` for one that is cut off."""
        if len(data) < HEAD_BYTES:
            raise Damaged("its header is cut off")
        return cls(*_HEAD.unpack_from(data))

    @property
    def codec(self) -> int:
        return self.attributes & CODEC_MASK

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & CONTROL)


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record by its place in the batch; header names are bytes, as they came."""

    timestamp_delta: int
    offset_delta: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]


def crc_holds(data: bytes) -> bool:
    """Whether a batch is what its checksum says."""
    head = Head.read(data)
    return bool(head.crc == calc_crc32c(memoryview(data)[HEAD_BYTES - _FROM_ATTRIBUTES.size :]))


def batch(head: Head, payload: bytes, records: int) -> bytes:
    """An uncompressed batch with this header and these records, which are so many."""
    attributes = head.attributes & ~CODEC_MASK
    body = _FROM_ATTRIBUTES.pack(
        attributes,
        head.last_delta,
        head.first_timestamp,
        head.max_timestamp,
        head.producer_id,
        head.producer_epoch,
        head.base_sequence,
        records,
    )
    body += payload
    length = len(body) + HEAD_BYTES - _FROM_ATTRIBUTES.size - LENGTH_ENDS
    start = _HEAD.size - _FROM_ATTRIBUTES.size
    whole = replace(head, length=length, magic=MAGIC, crc=calc_crc32c(body), attributes=attributes)
    packed = _HEAD.pack(*(getattr(whole, name) for name in Head.__slots__))
    return packed[:start] + body


def frames(payload: bytes, count: int) -> Iterator[tuple[bytes, int]]:
    """Each record's own bytes, without its length, and where it ends. Raises `Damaged` where the next is not found."""
    at = 0
    for _ in range(count):
        try:
            size, at = _varint(payload, at)
        except (IndexError, ValueError) as error:
            raise Damaged(f"the length of a record is damaged ({error})") from None
        if size < 0 or at + size > len(payload):
            raise Damaged("a record is cut off")
        at += size
        yield payload[at - size : at], at


def read_record(frame: bytes) -> RawRecord:
    """Raises `Damaged`."""
    try:
        timestamp_delta, at = _varint(frame, 1)
        offset_delta, at = _varint(frame, at)
        key, at = _read_bytes(frame, at)
        value, at = _read_bytes(frame, at)
        count, at = _varint(frame, at)
        headers: list[Header] = []
        for _ in range(count):
            name, at = _read_bytes(frame, at)
            header, at = _read_bytes(frame, at)
            headers.append((name or b"", header))
    except (IndexError, ValueError) as error:
        raise Damaged(f"a field of it is damaged ({error})") from None
    if at != len(frame) or count < 0:
        raise Damaged("its fields do not fill it")
    return RawRecord(timestamp_delta, offset_delta, key, value, tuple(headers))


def write_records(records: Sequence[RawRecord]) -> bytes:
    """The records, each led by its length."""
    out = bytearray()
    for record in records:
        body = bytearray(b"\x00")
        encode_varint(record.timestamp_delta, body.append)
        encode_varint(record.offset_delta, body.append)
        _write_bytes(body, record.key)
        _write_bytes(body, record.value)
        encode_varint(len(record.headers), body.append)
        for name, value in record.headers:
            _write_bytes(body, name)
            _write_bytes(body, value)
        encode_varint(len(body), out.append)
        out += body
    return bytes(out)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint and where it ends. aiokafka's own reads past the end. Raises `IndexError` or `ValueError`."""
    number = shift = 0
    while (byte := data[at]) & 0x80:
        number |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if shift > _MAX_SHIFT:
            raise ValueError("a number has more than 64 bits")
    number |= byte << shift
    return (number >> 1) ^ -(number & 1), at + 1


def _read_bytes(frame: bytes, at: int) -> tuple[bytes | None, int]:
    size, at = _varint(frame, at)
    if size < 0:
        return None, at
    if at + size > len(frame):
        raise Damaged("a field of it is cut off")
    return frame[at : at + size], at + size


def _write_bytes(out: bytearray, value: bytes | None) -> None:
    encode_varint(-1 if value is None else len(value), out.append)
    out += value or b""
