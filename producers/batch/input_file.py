"""Batch inputs as people have them, made into what is read here: a file of UTF-8 lines that can be read again.

A run reads its input more than once, and again after an interruption. What comes through a pipe, is compressed with
gzip or is written in UTF-16 or UTF-32 is therefore copied first; a file of UTF-8 is read where it lies.
"""

import gzip
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pelton.producers.batch.text_form import HEAD_BYTES, TextForm, text_form
from pelton.producers.errors import BatchError

STANDARD_INPUT = Path("-")
_CHUNK_CHARS = 1_048_576


@contextmanager
def readable_input(source: Path) -> Iterator[Path]:
    """A path to the lines of `source`; `-` is standard input. Blocks while a stream is read to its end.

    A copy is gone when the context ends. Raises `BatchError` for what cannot be read or converted.
    """
    with tempfile.TemporaryDirectory(prefix="pelton-input-") as folder:
        try:
            plain = _copied(source, Path(folder)) if _is_stream(source) else source
            lines = _converted(plain, source, Path(folder))
        except OSError as error:
            raise BatchError(f"The input {_name(source)} cannot be copied to {folder}: {error.strerror}.") from None
        yield lines


def _is_stream(source: Path) -> bool:
    return source == STANDARD_INPUT or (source.exists() and not source.is_file() and not source.is_dir())


def _copied(source: Path, folder: Path) -> Path:
    copy = folder / "copy"
    with copy.open("wb") as target:
        if source == STANDARD_INPUT:
            shutil.copyfileobj(sys.stdin.buffer, target)
        else:
            with source.open("rb") as stream:
                shutil.copyfileobj(stream, target)
    return copy


def _converted(plain: Path, source: Path, folder: Path) -> Path:
    """`plain` itself where it is UTF-8 or cannot be opened: whoever reads it says what is wrong with it."""
    form = text_form(_head(plain))
    if form is not None and form.compressed:
        if form.name != "gzip":
            raise BatchError(f"The input {_name(source)} is {form}: unpack it first.")
        plain = _unpacked(plain, source, folder)
        form = text_form(_head(plain))
    if form is None:
        return plain
    if form.codec is None:
        raise BatchError(f"The input {_name(source)} is {form} inside gzip: unpack it first.")
    return _recoded(plain, source, form, folder)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _unpacked(packed: Path, source: Path, folder: Path) -> Path:
    unpacked = folder / "unpacked"
    with gzip.open(packed) as stream, unpacked.open("wb") as target:
        try:
            shutil.copyfileobj(stream, target)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise BatchError(f"The input {_name(source)} is a gzip file that is cut or damaged ({error}).") from None
    return unpacked


def _recoded(plain: Path, source: Path, form: TextForm, folder: Path) -> Path:
    recoded = folder / "utf-8"
    with plain.open(encoding=form.codec, newline="") as text, recoded.open("wb") as target:
        try:
            while chunk := text.read(_CHUNK_CHARS):
                target.write(chunk.encode())
        except UnicodeError as error:
            raise BatchError(
                f"The input {_name(source)} begins as {form} and is not ({error}): save it as UTF-8."
            ) from None
    return recoded


def _name(source: Path) -> str:
    return "on standard input" if source == STANDARD_INPUT else str(source)
