"""What a worker says of itself over HTTP."""

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager

from pelton.pipeline.lifecycle import Lifecycle, State
from pelton.pipeline.metrics import Metrics
from pelton.workers.status_server import DEFAULT_PORTS, StatusServer, serve_status


@contextmanager
def serving(lifecycle: Lifecycle) -> Iterator[str]:
    server = StatusServer("127.0.0.1", 0, Metrics().registry, lambda: lifecycle.state)
    with closing(server):
        yield f"http://127.0.0.1:{server.port}"


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  # our own server
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def test_ready_is_what_has_joined_and_does_not_leave() -> None:
    """Healthy it is all the time."""
    lifecycle = Lifecycle()
    with serving(lifecycle) as url:
        assert get(f"{url}/readyz") == (503, "starting\n")
        lifecycle.advance(State.READY)
        assert get(f"{url}/readyz") == (200, "ready\n")
        lifecycle.advance(State.DRAINING)
        assert get(f"{url}/readyz") == (503, "draining\n")
        assert get(f"{url}/healthz") == (200, "draining\n")
        assert get(f"{url}/other")[0] == 404


async def test_every_counter_is_there_from_the_start() -> None:
    """Also each value of a label."""
    with serving(Lifecycle()) as url:
        status, text = get(f"{url}/metrics")
    assert status == 200
    for line in (
        'pelton_requests_finished_total{code="ok"} 0.0',
        'pelton_requests_finished_total{code="poisoned"} 0.0',
        'pelton_stage_seconds_count{stage="decode"} 0.0',
        'pelton_cache_requests_total{outcome="hit-local"} 0.0',
        "pelton_preemptions_total 0.0",
    ):
        assert line in text


def test_workers_on_one_machine_take_ports_of_their_own() -> None:
    """Where none is set; somebody else's server on one of them does no harm."""
    with socket.socket() as other:
        try:
            other.bind(("127.0.0.1", DEFAULT_PORTS[0]))
            other.listen()
        except OSError:
            pass  # taken already, which is as good
        one, two = (serve_status("127.0.0.1", None, Metrics().registry, lambda: State.READY) for _ in range(2))
        with closing(one), closing(two):
            assert DEFAULT_PORTS[0] not in {one.port, two.port}
            assert one.port != two.port
