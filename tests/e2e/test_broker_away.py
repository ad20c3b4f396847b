"""`pelton worker` started before its Kafka is there."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pelton.stack.ports import free_port

Wait = Callable[[Callable[[], bool], float], None]
STOP_S = 60


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_waits_and_can_be_stopped(tmp_path: Path, eventually: Wait, number: signal.Signals, code: int) -> None:
    """One line with the cause and the setting, no word of the client's, and no traceback when it is stopped."""
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        waiting = subprocess.Popen(
            [sys.executable, "-P", "-m", "pelton", "worker"],
            env={"PELTON_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}", "HOME": str(tmp_path)},
            stderr=output,
        )
    try:
        eventually(lambda: "waiting for Kafka" in log.read_text(), STOP_S)
        waiting.send_signal(number)
        assert waiting.wait(STOP_S) == code
    finally:
        waiting.kill()
    said = log.read_text()
    assert "PELTON_KAFKA__BOOTSTRAP_SERVERS" in said
    assert "aiokafka" not in said
    assert "Traceback" not in said
    assert len(said.splitlines()) == 2
