"""Traces that are off cost nothing, and those that are on never keep a process."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pelton.pipeline.settings.loading import SettingsError
from pelton.pipeline.settings.log import TraceSettings
from pelton.pipeline.tracing.spans import Kind
from pelton.telemetry import traces

WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError("No module named 'opentelemetry'", name="opentelemetry")
sys.meta_path.insert(0, Absent())
import pelton.workers.process, pelton.producers.client, pelton.commands.worker, pelton.commands.ask
from pelton.pipeline.settings.log import TraceSettings
from pelton.telemetry import traces
with traces(TraceSettings(), "test") as kept:
    print(kept)
try:
    with traces(TraceSettings(enabled=True), "test"):
        pass
except Exception as error:
    print(error)
"""


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """An OTLP endpoint that takes all that comes."""
    taken: list[tuple[str, bytes]] = []

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the base's name
            taken.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Take)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_off_nothing_of_it_is_imported() -> None:
    """Worker and clients run where OpenTelemetry is not installed; asked for there, it is said to be missing."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", WITHOUT], capture_output=True, text=True, timeout=100, check=True
    )
    off, missing = done.stdout.splitlines()
    assert off == "None"
    assert missing == "traces.enabled: opentelemetry cannot be imported; install the extra pelton[otel]."


@pytest.mark.parametrize("by_variable", [False, True], ids=["setting", "variable"])
def test_spans_go_to_the_collector(by_variable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By OTLP over HTTP, under the service's name, before the process ends."""
    with collector() as (url, taken):
        if by_variable:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        settings = TraceSettings(enabled=True, endpoint=None if by_variable else url)
        with traces(settings, "pelton-test") as kept:
            kept.start("a span of this test", Kind.INTERNAL).end()
    [(path, body)] = taken
    assert path == "/v1/traces"
    assert b"a span of this test" in body
    assert b"pelton-test" in body


LOST = """
import sys
from pelton import telemetry
from pelton.pipeline.settings.log import TraceSettings
from pelton.pipeline.tracing.spans import Kind
telemetry.FLUSH_S = 0.5
with telemetry.traces(TraceSettings(enabled=True, endpoint=sys.argv[1]), "test") as kept:
    kept.start("lost", Kind.INTERNAL).end()
    print("ending", flush=True)
"""


@pytest.mark.parametrize("silent", [False, True], ids=["away", "silent"])
def test_a_collector_that_takes_nothing_keeps_nobody(silent: bool) -> None:
    """The process ends within seconds, and what it did is done; also where one takes connections and never answers.

    A process of its own, as the exporter's threads go on trying.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1] if silent else 9
        command = [sys.executable, "-P", "-c", LOST, f"http://127.0.0.1:{port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ending\n"
            began = time.monotonic()
            assert process.wait(60) == 0
            assert time.monotonic() - began < 8


def test_a_wrong_variable_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named as it stands in the environment."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "soon")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with pytest.raises(SettingsError, match=r"OTEL_\*"), traces(TraceSettings(enabled=True), "test"):
        pass
