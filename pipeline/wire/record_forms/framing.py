"""The frame that serializers of schema registries put around a value: a zero byte, the schema's id, the payload."""

from dataclasses import dataclass

from pelton.pipeline.errors import SchemaMismatch

MAX_SCHEMA_ID = 2**31 - 1
"""Ids are Java's int; a registry has none above."""
_MAGIC = b"\x00"
_HEAD_BYTES = 5
_MAX_INDEXES = 64
"""Messages of a .proto file that lie in each other; more than anybody nests."""


@dataclass(frozen=True, slots=True)
class Framed:
    schema_id: int
    payload: bytes


def is_framed(value: bytes) -> bool:
    """No JSON begins with a zero byte."""
    return value.startswith(_MAGIC)


def unframed(value: bytes) -> Framed:
    """Raises `SchemaMismatch` for a value that ends within its frame."""
    if not is_framed(value) or len(value) < _HEAD_BYTES:
        raise SchemaMismatch("The record begins as one with a schema id and ends before the id does.")
    return Framed(int.from_bytes(value[1:_HEAD_BYTES], "big"), value[_HEAD_BYTES:])


def framed(schema_id: int, payload: bytes) -> bytes:
    return _MAGIC + schema_id.to_bytes(4, "big") + payload


def split_indexes(payload: bytes) -> tuple[tuple[int, ...], bytes]:
    """The way to a message within its .proto file, and the message. Raises `SchemaMismatch`.

    Protobuf's payload begins with a count of indexes and the indexes, as zigzag varints; a lone 0 stands for the
    first message of the file.
    """
    count, at = _varint(payload, 0)
    if count == 0:
        return (0,), payload[at:]
    if not 0 < count <= _MAX_INDEXES:
        raise SchemaMismatch(f"The record's message has {count} indexes, not 1 to {_MAX_INDEXES}.")
    indexes = []
    for _ in range(count):
        index, at = _varint(payload, at)
        indexes.append(index)
    return tuple(indexes), payload[at:]


def joined_indexes(indexes: tuple[int, ...]) -> bytes:
    if indexes == (0,):
        return b"\x00"
    return b"".join(map(_written, (len(indexes), *indexes)))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint of at most 32 bits, and where it ends."""
    raw = 0
    for shift in range(0, 35, 7):
        if at >= len(data):
            break
        raw |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:  # noqa: PLR2004  # the bit that says that more follows
            return (raw >> 1) ^ -(raw & 1), at
    raise SchemaMismatch("The record ends within the indexes of its message, or they are none.")


def _written(value: int) -> bytes:
    raw = value << 1  # never negative: they were found in a file
    pieces = bytearray()
    while raw > 0x7F:  # noqa: PLR2004  # seven bits a byte
        pieces.append(raw & 0x7F | 0x80)
        raw >>= 7
    pieces.append(raw)
    return bytes(pieces)
