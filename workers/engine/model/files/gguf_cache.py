"""Converted copies of GGUF models: unpacked once, kept as safetensors, and loaded from there at later starts.

Unpacking takes many seconds, loading a safetensors file a fraction of one. An entry is a folder whose name tells
which file, data type and transformers version it was made from; any of them may be deleted at any time.
"""

import hashlib
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import transformers

from pelton.workers.engine.model.files.partial_folders import make_partial_folder

log = logging.getLogger(__name__)


class GgufCache:
    """A folder of converted copies, safe to share between processes: an entry appears complete or not at all."""

    def __init__(self, cache_dir: Path) -> None:
        self._cache_dir = cache_dir

    def entry(self, gguf: Path, dtype: str) -> Path:
        """The folder where the copy of this very file is, or would be."""
        stat = gguf.stat()
        made_from = (str(gguf.resolve()), stat.st_size, stat.st_mtime_ns, dtype, transformers.__version__)
        digest = hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]
        return self._cache_dir / f"{gguf.stem}-{dtype}-{digest}"

    def store(self, entry: Path, write: Callable[[Path], None]) -> None:
        """Let `write` fill a new folder, then give it its name. A failure is logged: only the next start is slower."""
        try:
            self._cache_dir.mkdir(parents=True, exist_ok=True)
            partial = make_partial_folder(self._cache_dir)
            try:
                write(partial)
                self._publish(partial, entry)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        except Exception as error:  # noqa: BLE001 (a full disk shows as whatever the writer makes of it)
            log.warning("Could not keep the converted model in %s (%s); the next start converts again.", entry, error)

    def discard(self, entry: Path, reason: Exception) -> None:
        log.warning("The converted model in %s is unusable (%s); converting again.", entry, reason)
        shutil.rmtree(entry, ignore_errors=True)

    def _publish(self, partial: Path, entry: Path) -> None:
        try:
            partial.rename(entry)
        except OSError:
            # Another process was first; its copy is as good.
            if not entry.is_dir():
                raise
