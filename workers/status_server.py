"""Metrics and health of one worker over HTTP: `/metrics` for Prometheus, `/healthz` and `/readyz` for a scheduler.

Healthy is a worker that answers at all: one that hangs is ended and started again by its parent. Ready is one that has
loaded its model and joined its group, until it drains.
"""

import errno
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from pelton.pipeline.lifecycle import State

DEFAULT_PORTS = range(9400, 9464)
"""Workers on one machine take the next free one each."""

_StartResponse = Callable[..., Any]


class _Threading(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's name
        """A look every few seconds is no event."""


def serve_status(
    host: str, port: int | None, registry: CollectorRegistry, state: Callable[[], State]
) -> "StatusServer":
    """On `port`; where that is None, on the first free one of `DEFAULT_PORTS`. Raises `OSError`."""
    if port is not None:
        return StatusServer(host, port, registry, state)
    for candidate in DEFAULT_PORTS:
        try:
            return StatusServer(host, candidate, registry, state)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return StatusServer(host, 0, registry, state)


class StatusServer:
    """Serves on a thread of its own until closed."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry, state: Callable[[], State]) -> None:
        """`port` 0 takes any free one; `state` is asked on the server's thread. Raises `OSError`."""
        self._metrics = make_wsgi_app(registry)
        self._state = state
        self._server: WSGIServer = make_server(host, port, self._answer, _Threading, _Silent)
        self.port: int = self._server.server_port
        threading.Thread(target=self._server.serve_forever, name="status", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path in {"/metrics", "/"}:
            answer: Iterable[bytes] = self._metrics(environ, start_response)
            return answer
        state = self._state()
        statuses = {"/healthz": "200 OK", "/readyz": "200 OK" if state is State.READY else "503 Service Unavailable"}
        status, text = (statuses[path], state.value) if path in statuses else ("404 Not Found", "not found")
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{text}\n".encode()]
