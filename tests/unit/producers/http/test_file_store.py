"""Storage behind libraries of their own: what they raise is an `OSError`, and a folder may be missing that is empty."""

import io
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pelton.producers.http.errors import NotFound
from pelton.producers.http.file_store import FileStore, StorageUnusable


class Unreachable(Exception):
    """As botocore's: no OSError."""


class Buckets(MemoryFileSystem):
    """Has no empty folders, and can be away."""

    protocol = "buckets"
    store: dict[str, Any] = {}  # noqa: RUF012  # as in the base
    pseudo_dirs: list[str] = []  # noqa: RUF012  # likewise
    away = False

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """There are none."""
        if Buckets.away:
            raise Unreachable(path, exist_ok)

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        if Buckets.away:
            raise Unreachable(path)
        return super().ls(path, detail, **options)

    def cat_file(self, path: str, *options: Any, **named: Any) -> Any:
        if Buckets.away:
            raise Unreachable(path)
        return super().cat_file(path, *options, **named)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FileStore:
    fsspec.register_implementation("buckets", Buckets, clobber=True)
    monkeypatch.setattr(Buckets, "away", False)
    return FileStore("buckets://files")


def test_what_is_not_there_yet_is_empty(store):
    store.sweep()
    assert store.listed("acme") == []
    store.drop_parts("none")


def test_a_storage_that_is_away_raises_what_callers_know(store, monkeypatch):
    """Batches try again at an `OSError`; a server that starts says which setting it is."""
    kept = store.put("acme", "file-aaaaaaaa", io.BytesIO(b"x"), filename="a", purpose="batch")
    monkeypatch.setattr(Buckets, "away", True)
    calls = (
        lambda: store.listed("acme"),
        lambda: store.describe("acme", kept.id),
        lambda: store.part("batch", "1"),
        lambda: store.put("acme", kept.id, io.BytesIO(b"y"), filename="a", purpose="batch"),
        store.sweep,
    )
    for call in calls:
        with pytest.raises(OSError, match="Unreachable"):
            call()
    with pytest.raises(StorageUnusable, match=r"serve\.storage"):
        FileStore("buckets://files")
    monkeypatch.setattr(Buckets, "away", False)
    assert store.listed("acme") == [kept]
    assert b"".join(store.read("acme", kept.id)) == b"x"
    store.delete("acme", kept.id)
    with pytest.raises(NotFound):
        store.describe("acme", kept.id)
