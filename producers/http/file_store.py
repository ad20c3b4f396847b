"""Files that were uploaded, and those that batches leave: in a folder, or wherever fsspec can write.

A file is there when its description is: the content is written first. Calls block, so they are made on threads.
"""

import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import fsspec
import orjson

from pelton.pipeline.outside_text import shown
from pelton.producers.errors import ProducerError
from pelton.producers.http.errors import NotFound

_ID = re.compile(r"file-[A-Za-z0-9]{8,64}")
_CHUNK = 1 << 20
_DRAFTS = "drafts"
DRAFT_S = 86_400.0
"""How old something half written is when nobody writes it any more."""


class StorageUnusable(ProducerError):
    """The storage cannot be opened or written."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file's description; `created_at` is in Unix seconds."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str

    def body(self) -> dict[str, Any]:
        """OpenAI's file object."""
        return {"object": "file", **asdict(self), "status": "processed", "expires_at": None}


def new_file_id() -> str:
    return f"file-{secrets.token_hex(12)}"


class FileStore:
    """Each tenant sees its own files only. `url` is a folder or an fsspec URL."""

    def __init__(self, url: str) -> None:
        """Raises `StorageUnusable`."""
        try:
            # Another server's files are to be seen at once: s3fs, for one, would list a folder as it once was.
            self._fs, self._root = fsspec.url_to_fs(url, use_listings_cache=False)
            with _os_errors():
                self._fs.makedirs(f"{self._root}/{_DRAFTS}", exist_ok=True)
        except (OSError, ValueError, ImportError) as error:
            raise StorageUnusable(f"serve.storage {url!r} cannot be used: {error}.") from None
        self._is_local = "file" in self._fs.protocol

    def put(self, tenant: str, file_id: str, content: IO[bytes], *, filename: str, purpose: str) -> StoredFile:
        """Store a file under its id, in place of one that may be there. Raises `OSError`."""
        size = self._write(self._path(tenant, file_id, "content"), content)
        stored = StoredFile(file_id, size, int(time.time()), filename, purpose)
        self._write(self._path(tenant, file_id, "meta.json"), BytesIO(orjson.dumps(asdict(stored))))
        return stored

    def describe(self, tenant: str, file_id: str) -> StoredFile:
        """Raises `NotFound` or `OSError`."""
        if not _ID.fullmatch(file_id):
            raise _missing(file_id)
        try:
            with _os_errors():
                content = self._fs.cat_file(self._path(tenant, file_id, "meta.json"))
            return StoredFile(**orjson.loads(content))
        except (FileNotFoundError, orjson.JSONDecodeError, TypeError):
            raise _missing(file_id) from None

    def listed(self, tenant: str) -> list[StoredFile]:
        """All files of a tenant, the newest first. Raises `OSError`."""
        names = [path.rsplit("/", 1)[-1] for path in self._in(_folder(tenant))]
        found: list[StoredFile] = []
        for name in names:
            try:
                found.append(self.describe(tenant, name))
            except NotFound:  # still being written, or just deleted
                continue
        return sorted(found, key=lambda file: (file.created_at, file.id), reverse=True)

    def read(self, tenant: str, file_id: str) -> Iterator[bytes]:
        """The content in pieces. Raises `NotFound` at the first, and `OSError`."""
        self.describe(tenant, file_id)
        with _os_errors(), self._fs.open(self._path(tenant, file_id, "content"), "rb") as content:
            while piece := content.read(_CHUNK):
                yield piece

    def delete(self, tenant: str, file_id: str) -> None:
        """Raises `NotFound` or `OSError`."""
        self.describe(tenant, file_id)
        with _os_errors():
            self._fs.rm(self._path(tenant, file_id, "meta.json"))
            self._fs.rm(self._path(tenant, file_id, "content"))

    @contextmanager
    def as_local(self, tenant: str, file_id: str) -> Iterator[Path]:
        """The content as a file on this machine: the stored one where it is here, else a temporary copy."""
        self.describe(tenant, file_id)
        path = self._path(tenant, file_id, "content")
        if self._is_local:
            yield Path(path)
            return
        with tempfile.TemporaryDirectory(prefix="pelton-batch-") as folder:
            copy = Path(folder) / "content"
            with _os_errors():
                self._fs.get_file(path, str(copy))
            yield copy

    def put_part(self, batch_id: str, name: str, content: bytes) -> None:
        """Keep a piece of a batch's results until the batch ends. Raises `OSError`."""
        path = f"{self._root}/parts/{batch_id}/{name}"
        with _os_errors():
            self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            self._fs.pipe_file(path, content)

    def part(self, batch_id: str, name: str) -> bytes:
        """Raises `OSError`."""
        with _os_errors():
            content: bytes = self._fs.cat_file(f"{self._root}/parts/{batch_id}/{name}")
        return content

    def drop_parts(self, batch_id: str) -> None:
        """Raises `OSError`."""
        folder = f"{self._root}/parts/{batch_id}"
        with _os_errors():
            if self._fs.exists(folder):
                self._fs.rm(folder, recursive=True)

    def sweep(self, older_than_s: float = DRAFT_S) -> None:
        """Remove what servers that died were just writing. Raises `OSError`."""
        for draft in self._in(_DRAFTS):
            began = draft.rsplit("/", 1)[-1].partition("-")[0]
            if began.isdecimal() and int(began) + older_than_s < time.time():
                with _os_errors():
                    self._fs.rm(draft)

    def _in(self, folder: str) -> list[str]:
        """The paths in a folder; none where it is not there, as an empty one is not in an object store."""
        try:
            with _os_errors():
                return [str(path) for path in self._fs.ls(f"{self._root}/{folder}", detail=False)]
        except FileNotFoundError:
            return []

    def _write(self, path: str, content: IO[bytes]) -> int:
        draft = f"{self._root}/{_DRAFTS}/{int(time.time())}-{secrets.token_hex(8)}"
        size = 0
        with _os_errors():
            self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            with self._fs.open(draft, "wb") as target:
                while piece := content.read(_CHUNK):
                    target.write(piece)
                    size += len(piece)
            self._fs.mv(draft, path)
        return size

    def _path(self, tenant: str, file_id: str, name: str) -> str:
        return f"{self._root}/{_folder(tenant)}/{file_id}/{name}"


@contextmanager
def _os_errors() -> Iterator[None]:
    """Where a server of files cannot be reached, its library raises errors of its own: callers know `OSError`."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"the storage fails: {type(error).__name__}: {shown(str(error))}") from error


def _folder(tenant: str) -> str:
    """A name of its own for every tenant, the nameless one too, that is no path (a tenant may be called `..`)."""
    return f"tenant-{tenant}"


def _missing(file_id: str) -> NotFound:
    return NotFound(f"There is no file {file_id[:80]!r}.", code="file_not_found", param="file_id")
