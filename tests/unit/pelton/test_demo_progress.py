"""Whoever waits for the demo's first answer sees that something moves."""

import asyncio
import io
from contextlib import closing

import pytest
from rich.console import Console

from pelton.demo import progress
from pelton.demo.progress import SILENCE_S, Asking, doing, samples, watching
from pelton.pipeline.lifecycle import State
from pelton.pipeline.metrics import Metrics
from pelton.workers.status_server import StatusServer


async def test_what_the_worker_does_is_read_from_its_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second; and that it does not answer, while it does not."""
    monkeypatch.setattr(progress, "EVERY_S", 0.01)
    metrics, said = Metrics(), asyncio.Queue[str]()
    metrics.running_requests.set(12)
    metrics.waiting_requests.set(4)
    metrics.step_seconds.observe_all([0.1] * 1_500)
    with closing(StatusServer("127.0.0.1", 0, metrics.registry, lambda: State.READY)) as server:
        assert samples(server.port)["pelton_running_requests"] == 12
        async with asyncio.timeout(10), watching(server.port, said.put_nowait):
            assert await said.get() == "12 being computed, 4 waiting, steps done: 1,500"
    async with asyncio.timeout(10), watching(server.port, said.put_nowait):
        while "does not say" not in await said.get():
            pass


def test_without_a_terminal_no_silence_is_long() -> None:
    """A line for each answer, and one whenever nothing was printed for a while."""
    out, now = io.StringIO(), 0.0
    with Asking(Console(file=out), 3, lambda: now).shown() as asking:
        for _ in range(40):
            asking.show(doing({}))
            now += SILENCE_S / 10
        asking.answered()
    lines = out.getvalue().splitlines()
    assert lines == 3 * ["0 of 3 answered: 0 being computed, 0 waiting, steps done: 0"] + ["1 of 3 answered"]


def test_a_terminal_of_60_columns_has_it_in_one_line() -> None:
    """Nothing is cut but the words at the end."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=60, color_system=None)
    with Asking(console, 24).shown() as asking:
        asking.show("12 being computed, 12 waiting, 345 steps done")
    *_, last = [line for line in out.getvalue().splitlines() if "0/24" in line]
    assert "12 being computed, 12" in last
