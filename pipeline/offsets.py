"""Which of a partition's records are answered, and what a commit says about it.

Requests finish out of order. The position to commit is the lowest offset not yet answered; which of the offsets above
it are answered already goes into the commit's metadata, so that a successor skips them. Kafka limits metadata to 4096
characters, so the *open* offsets are encoded: they are few, however far the answered ones reach. Before them stands
Kafka's id of the topic: one that is made anew under the same name has offsets of its own.
"""

import base64
import operator
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

METADATA_LIMIT = 4096
"""Characters: the broker's `offset.metadata.max.bytes`."""
ADMIT_LIMIT = METADATA_LIMIT * 3 // 4
"""No record is admitted that could bring the metadata above this, whatever is answered after it."""

_PLAIN, _DEFLATED, _TOPIC = "p", "z", "t"
_TOPIC_ID_CHARS = 22
_MAX_OFFSET = 2**63 - 1
_MAX_SHIFT = 70


class BadMetadata(ValueError):
    """Commit metadata that no Pelton worker wrote."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A partition's state as a commit holds it.

    Everything below `position` is answered; from there to `horizon` (exclusive) all but `open` is, `position` itself
    being the first of `open` unless that is empty, and then `position` equals `horizon`.
    """

    position: int
    horizon: int
    open: tuple[int, ...] = ()
    topic_id: str = ""
    """Of the topic that the offsets are of; empty where nobody knew it."""

    @classmethod
    def decode(cls, position: int, metadata: str) -> "Progress":
        """Raises `BadMetadata`."""
        if metadata[:1] == _TOPIC:
            rest = cls.decode(position, metadata[1 + _TOPIC_ID_CHARS :])
            return replace(rest, topic_id=metadata[1 : 1 + _TOPIC_ID_CHARS])
        if not metadata:
            return cls(position, position)
        try:
            packed = base64.b64decode(metadata[1:], validate=True)
            distance, *deltas = _unpack(_inflated(packed) if metadata[0] == _DEFLATED else packed)
            if not all(deltas) or distance <= sum(deltas) or position + distance > _MAX_OFFSET:
                raise ValueError("its offsets do not rise")  # noqa: TRY301  # one of the ways not to be ours
        except (ValueError, zlib.error) as error:
            raise BadMetadata(f"metadata {metadata[:40]!r} is not a Pelton worker's: {error!r}") from None
        return cls(position, position + distance, tuple(accumulate(deltas, initial=position)))

    def metadata(self) -> str:
        """At most `METADATA_LIMIT` characters, as `OffsetTracker.admits` has seen to."""
        return (_TOPIC + self.topic_id if self.topic_id else "") + self._encoded_open()

    def _encoded_open(self) -> str:
        """Empty when nothing is open."""
        if not self.open:
            return ""
        deltas = (here - before for before, here in zip(self.open, self.open[1:], strict=False))
        packed = b"".join(map(_varint, (self.horizon - self.position, *deltas)))
        deflated = zlib.compress(packed)
        kind, shorter = (_DEFLATED, deflated) if len(deflated) < len(packed) else (_PLAIN, packed)
        return kind + base64.b64encode(shorter).decode()

    def answered(self, offset: int) -> bool:
        return offset < self.position or (offset < self.horizon and offset not in self.open)


class OffsetTracker:
    """One partition's open records, for one stretch of owning it.

    Offsets come in rising order, but need not be consecutive (transactions and compaction leave holes), and come again
    when a rebalance rewinds the consumer.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        start = progress or Progress(0, 0)
        # In rising order, as they are admitted: what a commit made open before us comes first.
        self._open: dict[int, None] = dict.fromkeys(start.open)
        self._unfetched: set[int] = set(start.open)
        self._horizon = start.horizon
        self.topic_id = start.topic_id
        """Of the topic that the offsets are of; empty where nobody knows it."""
        self._size = _size(start.horizon, start.open)

    @property
    def open(self) -> int:
        """How many admitted records are not answered."""
        return len(self._open) - len(self._unfetched)

    @property
    def unanswered(self) -> int:
        """Records below the horizon that are not answered, fetched or not."""
        return len(self._open)

    @property
    def horizon(self) -> int:
        """Behind the highest offset that was ever admitted."""
        return self._horizon

    @property
    def fetch_from(self) -> int:
        """The lowest offset that may hold a record not yet admitted."""
        return min(self._unfetched, default=self._horizon)

    @property
    def full(self) -> bool:
        """Whether no further record is admitted until some are answered and committed."""
        return not self._fits(self._horizon)

    def admits(self, offset: int) -> bool:
        """Whether there is room to open this record; if not it must be fetched again later."""
        return offset < self._horizon or self._fits(offset)

    def admit(self, offset: int) -> bool:
        """Open a record; False for one that is open or answered already.

        Raises `ValueError` where `admits` says no.
        """
        # Fetching goes upwards: what a commit left open below this offset is no longer in the log.
        for gone in [below for below in self._unfetched if below < offset]:
            self._unfetched.remove(gone)
            del self._open[gone]
        if offset < self._horizon:
            wanted = offset in self._unfetched
            self._unfetched.discard(offset)
            return wanted
        if not self._fits(offset):
            raise ValueError(f"no room for offset {offset}: {len(self._open)} are open")
        self._size += _varint_bytes(offset - self._horizon + 1)
        self._open[offset] = None
        self._horizon = offset + 1
        return True

    def is_open(self, offset: int) -> bool:
        return offset in self._open and offset not in self._unfetched

    def after(self, answered: Collection[int]) -> Progress:
        """What to commit together with the replies to these open records."""
        left = tuple(offset for offset in self._open if offset not in answered)
        return Progress(left[0] if left else self._horizon, self._horizon, left, self.topic_id)

    def complete(self, answered: Iterable[int]) -> None:
        """Close records, once that is committed. Raises `ValueError` for one that is not open."""
        for offset in answered:
            if not self.is_open(offset):
                raise ValueError(f"offset {offset} is not open")
            del self._open[offset]
        self._size = _size(self._horizon, tuple(self._open))

    def reconcile(self, committed: Progress) -> None:
        """Take over what the broker says: others may have answered some of what is open here, and more beyond it."""
        mine = [offset for offset in self._open if not committed.answered(offset)]
        theirs = [offset for offset in committed.open if offset >= self._horizon]
        self._open = dict.fromkeys([*mine, *theirs])
        self._unfetched = {offset for offset in self._unfetched if offset in self._open} | set(theirs)
        self._horizon = max(self._horizon, committed.horizon)
        self.topic_id = committed.topic_id or self.topic_id
        self._size = _size(self._horizon, tuple(self._open))

    def _fits(self, offset: int) -> bool:
        # The steps between open offsets are counted as single ones. A step that swallows another when a record is
        # answered never takes more bytes than the two did, so the sum holds for whatever is still to be answered.
        packed = self._size + _varint_bytes(offset - self._horizon + 1) + _HORIZON_BYTES
        return _characters(packed) <= ADMIT_LIMIT


def topic_id_text(raw: bytes) -> str:
    """As Kafka's tools write an id of 16 bytes."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


_HORIZON_BYTES = 10
"""The longest varint of a 64-bit number: the horizon's own."""


def _size(horizon: int, open_offsets: tuple[int, ...]) -> int:
    """Bytes that the steps between the open offsets take, the last one to the horizon included."""
    ends = (*open_offsets[1:], horizon) if open_offsets else ()
    return sum(map(_varint_bytes, map(operator.sub, ends, open_offsets)))


def _characters(packed: int) -> int:
    return 1 + 4 * -(-packed // 3)


def _varint(number: int) -> bytes:
    """LEB128, as protocol buffers have it."""
    out = bytearray()
    while number >> 7:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _varint_bytes(number: int) -> int:
    """How many bytes it takes so."""
    return (number.bit_length() + 6) // 7 or 1


def _inflated(packed: bytes) -> bytes:
    """Raises `ValueError` for more than a worker ever packs: a few thousand characters can claim megabytes."""
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(packed, METADATA_LIMIT)
    if not unpacker.eof:
        raise ValueError("it is cut off, or too much")
    return data


def _unpack(data: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if shift > _MAX_SHIFT:
            raise ValueError("a number has more than 64 bits")
        if not byte & 0x80:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("the last number is cut off")
