"""What a fetch brought, made readable: aiokafka gives up a whole poll for one record that it cannot read.

Compressed batches are unpacked under a bound. A record that is wrong in itself, or a batch that cannot be unpacked at
all, is replaced by a record in its place that holds the raw bytes and says in a header what is wrong, so that it can be
refused and set aside like any other request. Nothing here raises for what a sender wrote.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from aiokafka.record.control_record import ControlRecord
from aiokafka.record.memory_records import MemoryRecords

from pelton.pipeline.wire.contract import UNREADABLE
from pelton.workers.kafka.batches import (
    CODEC_MASK,
    CONTROL,
    LENGTH_ENDS,
    MAGIC,
    Damaged,
    Head,
    Header,
    RawRecord,
    batch,
    crc_holds,
    frames,
    read_record,
    write_records,
)
from pelton.workers.kafka.unpacking import MAX_BATCH_BYTES, Unpackable, unpacked

MAX_UNPACKED_BYTES = 2 * MAX_BATCH_BYTES
"""What is unpacked of one fetch; the rest is fetched again."""
_LEAST_LENGTH = 49
_MAGIC_AT = LENGTH_ENDS + 4
_MARKER = UNREADABLE.encode()


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Offsets `first` to `last` could not be read; `cause` continues "the batch cannot be read: …"."""

    first: int
    last: int
    cause: str


@dataclass(slots=True)
class Sieve:
    """For one fetch's answer: `left` is how many bytes may still be unpacked of it."""

    left: int = MAX_UNPACKED_BYTES
    most_batch: int = MAX_BATCH_BYTES

    def sift(self, data: bytes, fetch_offset: int, end: int) -> tuple[bytes, list[PassedOver]]:
        """The record set of one partition, asked for from `fetch_offset` on, whose log ends at `end`."""
        kept: list[bytes] = []
        passed_over: list[PassedOver] = []
        for raw in _split(data):
            if self.left <= 0:
                break
            try:
                readable = self._readable(raw)
            except Exception as error:  # noqa: BLE001  # whatever is wrong with one batch, the others are read
                readable, gone = _stand_in(raw, _cause(error), fetch_offset, end)
                passed_over.append(gone)
            if readable is not raw:
                self.left -= len(readable)
            kept.append(readable)
        if len(kept) == 1:
            return kept[0], passed_over
        return b"".join(kept), passed_over

    def _readable(self, raw: bytes) -> bytes:
        """The batch as aiokafka can read it; itself where it can. Raises `Damaged` or `Unpackable`."""
        if _is_partial(raw):
            return raw
        if len(raw) > _MAGIC_AT and raw[_MAGIC_AT] < MAGIC:
            return _older(raw)
        head = Head.read(raw)
        if not crc_holds(raw):
            raise Damaged("its checksum is wrong")
        if head.is_control:
            return _control(raw)
        payload = unpacked(head.codec, raw[LENGTH_ENDS + _LEAST_LENGTH :], self.most_batch)
        plain = batch(head, payload, head.records) if head.codec else raw
        return plain if _is_clean(plain) else _mended(head, payload)


def _cause(error: Exception) -> str:
    return str(error) if isinstance(error, (Damaged, Unpackable)) else f"reading it failed ({error!r})"


def _control(raw: bytes) -> bytes:
    """A transaction's end, which brokers write, one small record each."""
    try:
        ControlRecord.parse(next(MemoryRecords(raw).next_batch()).key)
    except Exception:  # noqa: BLE001  # as for `_is_clean`
        raise Damaged("it marks the end of a transaction, and is damaged") from None
    return raw


def _older(raw: bytes) -> bytes:
    """A message of formats 0 and 1, from before Kafka 0.11; Kafka 4 does not take them any more."""
    if len(raw) <= _MAGIC_AT + 1 or raw[_MAGIC_AT + 1] & CODEC_MASK:
        raise Damaged("it is compressed in a format from before Kafka 0.11")
    if not _is_clean(raw):
        raise Damaged("it is damaged")
    return raw


def _split(data: bytes) -> Iterator[bytes]:
    """The batches; the last may be cut off, as the broker answers with so many bytes and no more."""
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at + 8 : at + LENGTH_ENDS], "big", signed=True)
        end = at + LENGTH_ENDS + length if length > 0 else len(data)
        yield data if at == 0 and end >= len(data) else data[at:end]
        at = end


def _is_partial(raw: bytes) -> bool:
    length = int.from_bytes(raw[8:LENGTH_ENDS], "big", signed=True)
    return len(raw) < LENGTH_ENDS or len(raw) < LENGTH_ENDS + length


def _is_clean(plain: bytes) -> bool:
    try:
        found = MemoryRecords(plain).next_batch()
        return found is not None and bool(found.validate_crc()) and all(record is not None for record in found)
    except Exception:  # noqa: BLE001  # whatever aiokafka raises, it would raise it for the whole poll
        return False


def _mended(head: Head, payload: bytes) -> bytes:
    """The batch with each record that is wrong replaced; where the records cannot be told apart, the rest is one."""
    records: list[RawRecord] = []
    at = 0
    try:
        for frame, ends in frames(payload, head.records):
            records.append(_mended_record(frame, len(records)))
            at = ends
    except Damaged as error:
        records.append(_refused(payload[at:], min(len(records), head.last_delta), str(error)))
    mended = batch(head, write_records(records), len(records))
    if not _is_clean(mended):
        raise Damaged("its records are damaged")
    return mended


def _mended_record(frame: bytes, place: int) -> RawRecord:
    try:
        record = read_record(frame)
    except Damaged as error:
        return _refused(frame, place, str(error))
    names = [_name(name) for name, _ in record.headers]
    wrong = [name for name, (raw, _) in zip(names, record.headers, strict=True) if name != raw]
    if not wrong:
        return record
    cause = f"the name of a header is not UTF-8: {wrong[0].decode()[:80]}"
    headers = [(name, value) for name, (_, value) in zip(names, record.headers, strict=True)]
    return replace(record, headers=(*headers, _marker(cause)))


def _name(raw: bytes) -> bytes:
    return raw.decode(errors="backslashreplace").encode()


def _refused(value: bytes, offset_delta: int, cause: str) -> RawRecord:
    return RawRecord(0, offset_delta, None, value, (_marker(cause),))


def _marker(cause: str) -> Header:
    return _MARKER, cause.encode()


def _stand_in(raw: bytes, cause: str, fetch_offset: int, end: int) -> tuple[bytes, PassedOver]:
    """One record with the whole batch's bytes. What the header says is believed as far as it can be true."""
    head = Head.read(raw.ljust(LENGTH_ENDS + _LEAST_LENGTH, b"\0"))
    first = max(fetch_offset, head.base_offset) if head.base_offset < end else fetch_offset
    last = head.base_offset + head.last_delta
    if not first <= last < end:
        last = first
    told = PassedOver(first, last, cause)
    whole = f"offsets {first} to {last}: {cause}" if last > first else cause
    record = RawRecord(0, 0, None, raw, (_marker(whole),))
    plain = replace(head, base_offset=first, last_delta=last - first, attributes=head.attributes & ~CONTROL)
    return batch(plain, write_records([record]), 1), told
