"""A batch file cut into smaller ones, between lines."""

import codecs
import os
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path
from typing import Self

from pelton.producers.errors import BatchError

MAX_LINES = 50_000
MAX_BYTES = 200_000_000
"""As much as OpenAI takes in one file."""


@dataclass(frozen=True, slots=True)
class Part:
    """One of the smaller files; `size` in bytes."""

    path: Path
    lines: int
    size: int


def split(source: Path, folder: Path, *, lines: int = MAX_LINES, size: int = MAX_BYTES) -> list[Part]:
    """Write `STEM-0001.jsonl`, `STEM-0002.jsonl`, … into `folder`, each line as it was; blank ones are left out.

    A part appears when it is whole. Raises `BatchError` for what cannot be read or written, a part that exists already,
    or a line that is larger than a part may be.
    """
    parts: list[Part] = []
    try:
        with source.open("rb") as file, ExitStack() as writing:
            part: _Writing | None = None
            for number, raw in enumerate(file, start=1):
                line = raw.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n") + b"\n"
                if line.isspace():
                    continue
                if len(line) > size:
                    raise BatchError(f"Line {number} of {source} has {len(line):,} bytes, more than a part may have.")
                if part is None or part.lines == lines or part.size + len(line) > size:
                    parts += [part.finished()] if part is not None else []
                    part = writing.enter_context(_Writing.begun(folder / f"{source.stem}-{len(parts) + 1:04}.jsonl"))
                part.add(line)
            parts += [part.finished()] if part is not None else []
    except OSError as error:
        raise BatchError(f"{source} cannot be split: {error.filename}: {error.strerror}.") from None
    return parts


@dataclass(slots=True)
class _Writing:
    path: Path
    file: BufferedWriter
    lines: int = 0
    size: int = 0

    @classmethod
    def begun(cls, path: Path) -> "_Writing":
        if path.exists():
            raise BatchError(f"{path} exists: choose another folder, or move it away.")
        return cls(path, _unfinished(path).open("wb"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.file.close()
        _unfinished(self.path).unlink(missing_ok=True)

    def add(self, line: bytes) -> None:
        self.file.write(line)
        self.lines += 1
        self.size += len(line)

    def finished(self) -> Part:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        _unfinished(self.path).rename(self.path)
        return Part(self.path, self.lines, self.size)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")
