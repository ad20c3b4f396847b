"""Which requests are in the engine, in memory that a worker shares with its parent.

It outlives the worker however that ends, so the parent can tell whom to suspect. Writing takes no system call and waits
for nobody; reading is done only after a crash.
"""

import logging
import mmap
import os
import struct
import sys
import tempfile
from dataclasses import dataclass
from typing import Self

from pelton.pipeline.wire.records import Source
from pelton.workers.quarantine.crash_history import CrashHistory

log = logging.getLogger(__name__)

CAPACITY = 8_192
"""More requests than any engine runs at once; what is beyond it is not protected."""
# Partition, offset, the three numbers of a Blame, the length of the topic's name and the name (Kafka's limit is 249).
_ENTRY = struct.Struct("<iqIIIH249s")
_SLOT = 1 + _ENTRY.size
_SIZE = CAPACITY * _SLOT
_FREE, _TAKEN = 0, 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A request in the engine, and what was known of it when it joined."""

    source: Source
    blame: CrashHistory


class InFlightJournal:
    """Written by one thread. Slots of fixed size; a slot's first byte, written last, says whether it counts."""

    def __init__(self, fd: int | None = None) -> None:
        """Over the file that `create` made, in whichever process; without one nobody else sees it."""
        self._fd = fd
        self._memory = mmap.mmap(-1 if fd is None else fd, _SIZE)
        self._free = list(range(CAPACITY - 1, -1, -1))

    @classmethod
    def create(cls) -> Self:
        """An empty journal. Takes memory only as far as it is used."""
        if sys.platform == "linux":
            fd = os.memfd_create("pelton-journal")
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        os.truncate(fd, _SIZE)
        return cls(fd)

    def enter(self, source: Source, blame: CrashHistory) -> int | None:
        """Note that a request joins the engine; returns what `leave` wants."""
        if not self._free:
            log.warning("more than %d requests run at once: %s is not watched for crashes", CAPACITY, source)
            return None
        slot = self._free.pop()
        topic = source.topic.encode()
        at = slot * _SLOT
        _ENTRY.pack_into(
            self._memory,
            at + 1,
            source.partition,
            source.offset,
            blame.crashes,
            blame.together,
            blame.alone,
            len(topic),
            topic,
        )
        self._memory[at] = _TAKEN
        return slot

    def leave(self, slot: int | None) -> None:
        """Note that a request has left the engine."""
        if slot is not None:
            self._memory[slot * _SLOT] = _FREE
            self._free.append(slot)

    def entries(self) -> list[Entry]:
        """All that is in the engine."""
        states = self._memory[0:_SIZE:_SLOT]
        return [_read(self._memory, slot * _SLOT + 1) for slot, state in enumerate(states) if state == _TAKEN]

    def fileno(self) -> int:
        """To be passed on to the worker. Raises `ValueError` where there is no file."""
        if self._fd is None:
            raise ValueError("a private journal has no file")
        return self._fd

    def close(self) -> None:
        self._memory.close()
        if self._fd is not None:
            os.close(self._fd)


def _read(memory: mmap.mmap, at: int) -> Entry:
    partition, offset, crashes, together, alone, length, topic = _ENTRY.unpack_from(memory, at)
    return Entry(Source(topic[:length].decode(), partition, offset), CrashHistory(crashes, together, alone))
