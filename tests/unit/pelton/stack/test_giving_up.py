"""A start that is interrupted ends soon, and leaves nothing."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from pelton.stack.errors import StackError
from pelton.stack.server import Server

BOUND_S = 20


class NeverReady(Server):
    """Runs, and never answers."""

    name = "Nothing"
    port_option = "--port"

    def __init__(self) -> None:
        super().__init__(port=0, data=None)
        self.asked = threading.Event()

    def command(self) -> list[str]:
        return [sys.executable, "-c", "import time; time.sleep(600)"]

    def answers(self) -> bool:
        self.asked.set()
        return False


def test_a_start_in_another_thread_is_given_up() -> None:
    """Long before its time-out; its process and its folder are gone."""
    server = NeverReady()
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(server.start)
        assert server.asked.wait(BOUND_S)
        pid, folder = server.pid, server.folder
        server.give_up()
        with pytest.raises(StackError):
            starting.result(BOUND_S)
    server.close()
    assert not psutil.pid_exists(pid)
    assert not folder.exists()


def test_what_was_given_up_before_is_not_started() -> None:
    """Whichever thread comes first."""
    server = NeverReady()
    server.give_up()
    with pytest.raises(StackError, match="not wanted any more"):
        server.start()
    server.close()
