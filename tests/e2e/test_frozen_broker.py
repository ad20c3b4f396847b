"""A worker that is told to leave while its broker does not answer."""

import os
import signal
import time

import pytest

from pelton.stack.kafka import KafkaServer


@pytest.fixture
def kafka_bootstrap(server: KafkaServer) -> str:
    return server.bootstrap_servers


def test_a_silent_broker_does_not_hold_a_leaving_worker(pelton, server):
    """It leaves within seconds and exits 0, although nobody takes note of it; the log says what follows from that."""
    leaving = pelton.start_worker(PELTON_ENGINE__KIND="simulated", PELTON_CACHE__ENABLED="false")
    os.kill(server.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert leaving.stop() == 0
        assert time.monotonic() - started < 15
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert "the broker does not answer" in pelton.log()
