"""Commands that are told to stop in the middle: at once, with a word, and with nothing left behind."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

PELTON = (sys.executable, "-P", "-m", "pelton")
STOP_S = 60
INTERRUPTED = 130
DEMO, UP = ("demo",), ("up", "--kafka-port", "0", "--valkey-port", "0")
HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"
REQUEST = {"model": "default", "messages": [{"role": "user", "content": "hello"}]}
Wait = Callable[[Callable[[], bool], float], None]


class Terminal:
    """A terminal of the test's own, and all that was written to it."""

    def __init__(self) -> None:
        self._master, self.end = pty.openpty()
        self.seen = b""
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def close(self) -> None:
        os.close(self.end)
        self._reading.join()
        os.close(self._master)

    def _read(self) -> None:
        while True:
            try:
                self.seen += os.read(self._master, 65_536)
            except OSError:  # the last writer has gone
                return


def test_a_batch_gives_the_cursor_back(pelton, tmp_path: Path, eventually: Wait) -> None:
    """SIGTERM is as good as Ctrl-C: the journal's advice, and a cursor."""
    pelton.start_worker(PELTON_ENGINE__KIND="simulated").stop()  # it has made the topics; now nobody answers
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": REQUEST}))
    terminal = Terminal()
    batch = subprocess.Popen(
        [*PELTON, "submit", str(source), "--out", str(out)],
        env={**os.environ, **pelton.environment, "TERM": "xterm"},
        stderr=terminal.end,
    )
    try:
        eventually(lambda: HIDE in terminal.seen, STOP_S)
        batch.send_signal(signal.SIGTERM)
        assert batch.wait(STOP_S) == INTERRUPTED
    finally:
        batch.kill()
        terminal.close()
    assert terminal.seen.rindex(SHOW) > terminal.seen.rindex(HIDE)
    assert b"Interrupted." in terminal.seen
    assert b"Traceback" not in terminal.seen


@pytest.mark.parametrize(
    ("command", "number"),
    [(DEMO, signal.SIGTERM), (DEMO, signal.SIGINT), (UP, signal.SIGINT)],
    ids=["demo SIGTERM", "demo SIGINT", "up SIGINT"],
)
def test_a_start_that_is_stopped_leaves_nothing(
    tmp_path: Path, eventually: Wait, command: tuple[str, ...], number: signal.Signals
) -> None:
    """While its servers start it ends soon, and no folder and no process of it stays."""
    temporary, log = tmp_path / "tmp", tmp_path / "log"
    temporary.mkdir()
    with log.open("wb") as output:
        started = subprocess.Popen([*PELTON, *command], env={**os.environ, "TMPDIR": str(temporary)}, stderr=output)
    try:
        eventually(lambda: bool(list(temporary.glob("pelton-*/kafka.log"))), STOP_S)
        started.send_signal(number)
        assert started.wait(STOP_S) == INTERRUPTED
    finally:
        started.kill()
    assert not list(temporary.iterdir())
    said = log.read_text()
    assert ("Stopping" in said) == (command == DEMO)
    assert said.endswith("pelton: Interrupted.\n")
    assert "Traceback" not in said


def test_a_worker_that_loads_its_model_ends_at_once(pelton, tmp_path: Path, eventually: Wait) -> None:
    """Exit 0; what it was unpacking is gone."""
    log, caches = tmp_path / "log", tmp_path / "caches"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [*PELTON, "worker"],
            env={**os.environ, **pelton.environment, "PELTON_CACHE_DIR": str(caches)},
            stderr=output,
        )
    try:
        eventually(lambda: "loading model" in log.read_text(), STOP_S)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(STOP_S) == 0
    finally:
        worker.kill()
    said = log.read_text()
    assert "stopped while the model was loading" in said
    assert "Traceback" not in said
    assert not list(caches.rglob(".partial-*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_http_server_closes_its_clients(pelton, tmp_path: Path, eventually: Wait, number: signal.Signals) -> None:
    """Exit 0, as its help says."""
    pelton.start_worker(PELTON_ENGINE__KIND="simulated").stop()  # it has made the topics
    log = tmp_path / "log"
    settings = {"PELTON_SERVE__BATCHES_TOPIC": f"{pelton.requests}-batches", "PELTON_SERVE__STORAGE": str(tmp_path)}
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*PELTON, "serve", "--port", "0"],
            env={**os.environ, **pelton.environment, **settings},
            stderr=output,
        )
    try:
        eventually(lambda: "is served on http" in log.read_text(), STOP_S)
        server.send_signal(number)
        assert server.wait(STOP_S) == 0
    finally:
        server.kill()
    assert "Traceback" not in log.read_text()


def test_ctrl_c_during_the_imports_shows_no_traceback() -> None:
    """Python writes a line for each module that it has imported."""
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-P", "-m", "pelton", "worker"], stderr=subprocess.PIPE, text=True
    ) as command:
        assert command.stderr is not None
        while "pelton.pipeline" not in command.stderr.readline():
            pass
        command.send_signal(signal.SIGINT)
        rest = command.stderr.read()
    assert command.returncode == -signal.SIGINT
    assert "Traceback" not in rest
