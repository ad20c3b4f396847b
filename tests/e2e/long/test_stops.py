"""Whatever serves ends when it is told to, at any moment of its start, and also where Kafka or its group is silent."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pelton.stack.kafka import KafkaServer

log = logging.getLogger(__name__)

PELTON = (sys.executable, "-P", "-m", "pelton")
SERVE, REPORTS, ROUTE, WORKER = "serve", "reports serve", "ab route", "worker"
READY = {SERVE: "is served on http", REPORTS: "partitions of", ROUTE: "partitions of", WORKER: "is ready"}
MOMENTS = 10
START_S = 60
BOUND_S = 20.0
SILENT_S = 30.0
Wait = Callable[[Callable[[], bool], float], None]


@pytest.fixture
def kafka_bootstrap(server: KafkaServer) -> str:
    return server.bootstrap_servers


@pytest.fixture
def settings(pelton, tmp_path: Path) -> dict[str, str]:
    pool = f'{{"m": {{"topic": "{pelton.requests}-m", "group_id": "{pelton.requests}-m"}}}}'
    return {
        **pelton.environment,
        "PELTON_ENGINE__KIND": "simulated",
        "PELTON_SERVE__PORT": "0",
        "PELTON_SERVE__STORAGE": str(tmp_path / "files"),
        "PELTON_SERVE__BATCHES_TOPIC": f"{pelton.requests}-batches",
        "PELTON_REPORTS__JOBS_TOPIC": f"{pelton.requests}-jobs",
        "PELTON_REPORTS__RESULTS_TOPIC": f"{pelton.requests}-results",
        "PELTON_REPORTS__GROUP_ID": f"{pelton.requests}-reports",
        "PELTON_ROUTING__POOLS": pool,
    }


@contextmanager
def started(command: str, settings: dict[str, str], said: Path) -> Iterator[subprocess.Popen[bytes]]:
    with said.open("wb") as output:
        process = subprocess.Popen(
            [*PELTON, *command.split(), "--verbose"], env={**os.environ, **settings}, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def stopped_within(process: subprocess.Popen[bytes], limit_s: float) -> float:
    """How long it took. Before its handlers are there SIGTERM ends it by itself."""
    told = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(limit_s) in {0, -signal.SIGTERM}
    return time.monotonic() - told


@pytest.mark.parametrize("command", [SERVE, REPORTS, ROUTE, WORKER])
def test_at_any_moment_of_the_start(pelton, settings, command: str, tmp_path: Path, eventually: Wait) -> None:
    """It ends in good order within seconds, and shows no traceback."""
    pelton.start_worker(PELTON_ENGINE__KIND="simulated").stop()  # it has made the topics
    said, taken = tmp_path / "log", []
    began = time.monotonic()
    with started(command, settings, said) as process:
        eventually(lambda: READY[command] in said.read_text(), START_S)
        start_s = time.monotonic() - began
        taken.append(stopped_within(process, BOUND_S))
    for moment in range(MOMENTS):
        with started(command, settings, said) as process:
            time.sleep(start_s * moment / MOMENTS)
            taken.append(stopped_within(process, BOUND_S))
        assert "Traceback" not in said.read_text()
    log.info("%s: starts in %.1f s; stops in %s s", command, start_s, " ".join(f"{each:.1f}" for each in taken))


@pytest.mark.parametrize("command", [SERVE, REPORTS, ROUTE])
def test_while_a_member_of_its_group_is_frozen(
    pelton, settings, command: str, tmp_path: Path, eventually: Wait
) -> None:
    """Its join is not answered before the other's session runs out: it does not wait for that."""
    pelton.start_worker(PELTON_ENGINE__KIND="simulated").stop()
    slow = {**settings, "PELTON_KAFKA__SESSION_TIMEOUT_MS": "45000"}
    with started(command, slow, tmp_path / "frozen") as frozen:
        eventually(lambda: "partitions of" in (tmp_path / "frozen").read_text(), START_S)
        frozen.send_signal(signal.SIGSTOP)
        with started(command, slow, said := tmp_path / "log") as process:
            waiting = READY[SERVE] if command == SERVE else "(Re-)joining group"
            eventually(lambda: waiting in said.read_text(), START_S)
            log.info("%s: stops in %.1f s", command, stopped_within(process, BOUND_S))
    assert "Traceback" not in said.read_text()


@pytest.fixture
def freeze(pelton, server: KafkaServer) -> Iterator[Callable[[], None]]:
    """Make the broker take connections and answer nothing."""
    pelton.start_worker(PELTON_ENGINE__KIND="simulated").stop()
    yield lambda: os.kill(server.pid, signal.SIGSTOP)
    os.kill(server.pid, signal.SIGCONT)


@pytest.mark.parametrize("command", [SERVE, REPORTS, ROUTE])
@pytest.mark.parametrize("ready", [False, True], ids=["starting", "serving"])
def test_while_kafka_is_silent(freeze, settings, command, ready, tmp_path, eventually) -> None:  # noqa: PLR0913, PLR0917
    """It holds nobody longer than half a minute."""
    said = tmp_path / "log"
    if not ready:
        freeze()
    with started(command, settings, said) as process:
        if ready:
            eventually(lambda: "partitions of" in said.read_text(), START_S)
            freeze()
        else:
            time.sleep(5)  # nothing tells that it waits for an answer
        told = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = process.wait(SILENT_S)
        log.info("%s: stops in %.1f s, exit %d", command, time.monotonic() - told, code)
        assert code == 0
    assert "Traceback" not in said.read_text()
