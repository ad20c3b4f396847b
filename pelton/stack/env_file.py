"""The file of settings that `pelton up` writes for a shell to `source`: one running stack has it, and nobody else."""

import fcntl
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from pelton.stack.errors import StackError

_READABLE = 0o644
_FIRST = b"export PELTON_"


class EnvFile:
    """Held from the start, so that a bad place is found before anything runs; written when there is something to say.

    The file's lock, which ends with its process, tells one that is in use from one that a killed stack has left.
    """

    def __init__(self, path: Path) -> None:
        """Raises `StackError` where a file cannot be written, or another stack has it."""
        self._path = path.absolute()
        self._remove_left_over()
        try:
            descriptor, draft = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        except OSError as error:
            raise StackError(f"Cannot write the settings to {path}: {error.strerror}.") from error
        self._draft = Path(draft)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def write(self, lines: Iterable[str]) -> None:
        """Let the file appear, complete. Raises `StackError`, also where another stack was first."""
        try:
            self._file.writelines(f"{line}\n" for line in lines)
            self._file.flush()
            self._draft.chmod(_READABLE)
            os.link(self._draft, self._path)
        except FileExistsError:
            raise StackError(_in_use(self._path)) from None
        except OSError as error:
            raise StackError(f"Cannot write the settings to {self._path}: {error.strerror}.") from error
        finally:
            self._draft.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the file, unless somebody has put another in its place."""
        self._draft.unlink(missing_ok=True)
        try:
            if os.path.samestat(self._path.stat(), os.fstat(self._file.fileno())):
                self._path.unlink()
        except FileNotFoundError:
            pass
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _remove_left_over(self) -> None:
        try:
            with self._path.open("rb") as there:
                fcntl.flock(there, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if there.read(len(_FIRST)) != _FIRST:
                    raise StackError(f"{self._path} was not written by `pelton up`: name another file with --env-file.")
                self._path.unlink()
        except FileNotFoundError:
            pass
        except BlockingIOError:
            raise StackError(_in_use(self._path)) from None
        except OSError as error:
            raise StackError(f"Cannot write the settings to {self._path}: {error.strerror}.") from error


def _in_use(path: Path) -> str:
    return f"Another `pelton up` has its settings in {path}: name another file with --env-file, or stop that one."
