"""A worker that is told to leave while its model loads does not wait for it."""

import asyncio
import threading

import pytest

from pelton.pipeline.lifecycle import Lifecycle, State
from pelton.pipeline.settings.loading import Settings
from pelton.workers import process
from pelton.workers.engine.model.files.partial_folders import make_partial_folder, remove_partial_folders


@pytest.fixture
def slow_load(monkeypatch):
    """A load that goes on until the test lets it end."""
    begun, let_go = threading.Event(), threading.Event()

    def load(*_):
        begun.set()
        let_go.wait(10)
        return "model"

    monkeypatch.setattr(process, "_load", load)
    yield begun, let_go
    let_go.set()


async def test_the_load_is_not_waited_for(slow_load):
    """It may take minutes, and nothing can interrupt it."""
    begun, _ = slow_load
    lifecycle = Lifecycle()
    loaded = asyncio.create_task(process._loaded(Settings(), lifecycle))
    await asyncio.to_thread(begun.wait)
    lifecycle.advance(State.DRAINING)
    assert await asyncio.wait_for(loaded, 1) is None


async def test_a_load_that_ends_gives_its_model(slow_load):
    """As long as nobody has told the worker to leave."""
    _, let_go = slow_load
    let_go.set()
    served: object = await process._loaded(Settings(), Lifecycle())
    assert served == "model"


def test_what_was_being_unpacked_goes(tmp_path):
    """That of this process, and not that of another."""
    mine = make_partial_folder(tmp_path)
    (mine / "model.safetensors").write_bytes(b"half")
    others = tmp_path / ".partial-1-abc"
    others.mkdir()
    remove_partial_folders(tmp_path)
    assert list(tmp_path.iterdir()) == [others]
    remove_partial_folders(tmp_path / "nowhere")
