"""What keeps a worker from starting names its setting."""

import errno
import socket
from pathlib import Path

import pytest

from pelton.pipeline import paths
from pelton.pipeline.lifecycle import Lifecycle
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.settings.loading import Settings, SettingsError
from pelton.workers import process, served_model
from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.faults import Fault


def enter(settings: Settings) -> None:
    with process._status(settings, Metrics(), Lifecycle()):
        pass


def test_a_taken_metrics_port_names_its_setting():
    """No traceback of the server."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(worker={"metrics_port": port, "metrics_host": "127.0.0.1"})
        with pytest.raises(SettingsError, match=f"worker.metrics_port: .*port {port}"):
            enter(settings)


def test_a_metrics_host_elsewhere_names_its_setting():
    """An address for documentation: no machine has it."""
    with pytest.raises(SettingsError, match=r"worker.metrics_host: '192\.0\.2\.1'"):
        enter(Settings(worker={"metrics_port": 1, "metrics_host": "192.0.2.1"}))


def test_no_home_names_the_variable_to_set(monkeypatch):
    """As in a container whose user is only a number."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("PELTON_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(SettingsError, match="PELTON_CACHE_DIR"):
        paths.cache_dir()


def test_a_mapping_that_the_system_refuses_is_a_lack_of_memory():
    """It is an OSError of no class of its own."""
    assert Fault.of(OSError(errno.ENOMEM, "Cannot allocate memory")).is_out_of_memory


@pytest.mark.parametrize(
    ("error", "raised"),
    [(PermissionError(13, "denied"), SettingsError), (RuntimeError("odd"), ModelLoadError)],
)
def test_what_a_load_meets_again_is_no_crash(monkeypatch, error, raised):
    """A worker that could not load its model is not started again to try the same."""

    def build(*_: object) -> None:
        raise error

    monkeypatch.setattr(served_model, "build", build)
    with pytest.raises(raised, match=r"model\.path"):
        process._load(Settings())
