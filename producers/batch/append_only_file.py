"""A file of JSON lines that is only appended to, and can be cut off anywhere without harm.

A line counts when its end is written. Every `append` reaches the operating system before it returns, so that killing
this process loses nothing of it.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from pelton.producers.errors import BatchError

_CHUNK = 65_536


class AppendOnlyFile:
    """Opens, or creates, and locks the file, and cuts off a last line without end. Raises `BatchError`."""

    def __init__(self, path: Path, *, begins: bytes) -> None:
        """Nothing is cut off a file that does not begin as ours do: it is somebody else's."""
        self.path = path
        self._begins = begins
        self._new = not path.exists()
        with self._writing():
            self._file = path.open("a+b")
        try:
            with self._writing():
                self._lock()
                self._refuse_foreign()
                self._cut_torn_line()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def remove_if_unused(self) -> None:
        """Leave no file behind that was made here and holds nothing."""
        with self._writing():
            if self._new and not os.fstat(self._file.fileno()).st_size:
                self.path.unlink(missing_ok=True)

    def entries(self) -> Iterator[dict[str, Any]]:
        """The lines, parsed. Raises `BatchError` for one that is not a JSON object: no crash of ours leaves that."""
        self._file.seek(0)
        for number, line in enumerate(self._file, start=1):
            try:
                entry = orjson.loads(line)
            except orjson.JSONDecodeError:
                entry = None
            if not isinstance(entry, dict):
                raise BatchError(f"{self.path} was damaged: line {number} is not a JSON object.")
            yield entry

    def append(self, lines: Sequence[bytes]) -> None:
        """Write lines, each with its end. Raises `BatchError` when the disk does not take them."""
        rest = memoryview(b"".join(lines))
        with self._writing():
            while rest:
                rest = rest[os.write(self._file.fileno(), rest) :]

    def sync(self) -> None:
        """Force what was appended onto the disk, against a power cut. Raises `BatchError`."""
        with self._writing():
            os.fsync(self._file.fileno())

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BatchError(f"{self.path} cannot be written: {error.strerror}. Mend that, and run it again.") from None

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._in_use() from None
        # One that ends may have removed its unused file since this one was opened: what is written here had no name.
        if not self.path.exists() or not os.path.samestat(os.fstat(self._file.fileno()), self.path.stat()):
            raise self._in_use()

    def _in_use(self) -> BatchError:
        return BatchError(f"Another process is writing {self.path}: let it finish, or end it first.")

    def _refuse_foreign(self) -> None:
        self._file.seek(0)
        head = self._file.read(len(self._begins))
        if not self._begins.startswith(head):
            raise BatchError(f"{self.path} is no file of a batch run: choose another output, or move that file away.")

    def _cut_torn_line(self) -> None:
        end = self._file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - _CHUNK)
            self._file.seek(start)
            newline = self._file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        self._file.truncate(end)
