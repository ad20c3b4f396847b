"""The results of one running batch on this machine: appended as they come, read back in the order of the input."""

import tempfile
from array import array
from collections.abc import Iterator
from types import TracebackType
from typing import Self

_FAILED = 1


class Spool:
    """One result a line of the input; a second one for the same line is left out.

    A result is JSON without a line end. The index takes eight bytes for each line of the input.
    """

    def __init__(self, lines: int) -> None:
        self._file = tempfile.TemporaryFile(prefix="pelton-spool-")  # noqa: SIM115  # closed by `close`
        # For each line where its result begins, plus one, times two, plus whether it failed. 0: none yet.
        self._index = array("Q", bytes(8 * (lines + 1)))
        self._end = 0
        self._unsaved = 0
        self.answered = 0
        self.failed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def count(self) -> int:
        return self.answered + self.failed

    @property
    def unsaved_bytes(self) -> int:
        return self._end - self._unsaved

    def __contains__(self, line: int) -> bool:
        return 0 < line < len(self._index) and self._index[line] != 0

    def add(self, line: int, result: bytes, *, ok: bool) -> bool:
        """Keep a result; False where the line has one, or is none of the input."""
        if not 0 < line < len(self._index) or self._index[line]:
            return False
        self._file.seek(self._end)
        entry = b"%d %d %s\n" % (line, ok, result)
        self._file.write(entry)
        self._index[line] = (self._end + 1) << 1 | (0 if ok else _FAILED)
        self._end += len(entry)
        self.answered += ok
        self.failed += not ok
        return True

    def result(self, line: int) -> tuple[bytes, bool] | None:
        """A line's result, and whether it is an answer; None where there is none yet."""
        place = self._index[line]
        if not place:
            return None
        self._file.seek((place >> 1) - 1)
        return self._file.readline().split(b" ", 2)[2].rstrip(b"\n"), not place & _FAILED

    def unsaved(self) -> bytes:
        """All that was added behind what is marked as saved, for `load` to read elsewhere."""
        self._file.seek(self._unsaved)
        return self._file.read(self._end - self._unsaved)

    def mark_saved(self, size: int) -> None:
        """The first `size` bytes of what `unsaved` gave are safe elsewhere."""
        self._unsaved += size

    def load(self, part: bytes) -> None:
        """Add what a former owner had. Raises `ValueError` for what is no part."""
        for entry in _entries(part):
            line, ok, result = entry.split(b" ", 2)
            self.add(int(line), result, ok=ok == b"1")
        self._unsaved = self._end


def _entries(part: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(part):
        end = part.find(b"\n", start)
        if end < 0:
            raise ValueError("a part of a batch's results ends in the middle of a line")
        yield part[start:end]
        start = end + 1
