"""Folders that are being filled, under names that say whose they are: a process that ends at once removes its own."""

import os
import shutil
import tempfile
from pathlib import Path


def make_partial_folder(parent: Path) -> Path:
    """A new, empty folder of this process in `parent`. Raises `OSError`."""
    return Path(tempfile.mkdtemp(prefix=_prefix(), dir=parent))


def remove_partial_folders(parent: Path) -> None:
    """Remove those of this process, whatever writes to them. Does not raise."""
    for folder in parent.glob(f"{_prefix()}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _prefix() -> str:
    return f".partial-{os.getpid()}-"
