"""How long OpenMP's threads spin in a worker: shortly, unless somebody has chosen."""

import sys

import pytest

from pelton.pipeline.settings.worker import WorkerSettings
from pelton.workers.supervisor.supervisor import launch_of
from pelton.workers.supervisor.wait_policy import SPIN_VARIABLE, wait_policy


def test_threads_spin_shortly_where_nobody_has_chosen() -> None:
    """OpenMP's own default is 300,000, some milliseconds."""
    assert 0 < int(wait_policy({"PATH": "/bin"})[SPIN_VARIABLE]) < 30_000


@pytest.mark.parametrize("chosen", [{"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "0"}], ids=["policy", "spins"])
def test_what_somebody_has_chosen_stays(chosen: dict[str, str]) -> None:
    """By either variable, since each has a say in the other."""
    assert wait_policy(chosen) == {}


def test_every_worker_is_started_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One alone too, and beside the variables that it has for other reasons."""
    for name in ("OMP_WAIT_POLICY", SPIN_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    alone = launch_of(WorkerSettings(), [sys.executable], 0, [], 1)
    assert alone.environment.items() >= wait_policy({}).items()
    second = launch_of(WorkerSettings(replicas=2, metrics_port=9100), [sys.executable], 1, ["0", "1"], 1)
    assert second.environment == {
        **wait_policy({}),
        "CUDA_VISIBLE_DEVICES": "1",
        "PELTON_WORKER__METRICS_PORT": "9101",
    }
