"""How the demo gets on: answers, and what the worker does until the next one comes."""

import asyncio
import contextlib
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from http.client import HTTPException

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

EVERY_S = 1.0
SILENCE_S = 15.0
"""Where there is no terminal, how long nothing may be printed: a log that says nothing looks like one that hangs."""


def samples(metrics_port: int) -> dict[str, float]:
    """The worker's series by name; of one with labels any. Raises `OSError`."""
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=5) as response:
        text = response.read().decode()
    return {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}


def doing(found: Mapping[str, float]) -> str:
    """What a worker does, in words. Tokens are counted with their answers, steps as they are computed."""
    running, waiting = found.get("pelton_running_requests", 0), found.get("pelton_waiting_requests", 0)
    steps = found.get("pelton_step_seconds_count", 0)
    return f"{running:.0f} being computed, {waiting:.0f} waiting, steps done: {steps:,.0f}"


class Asking:
    """A bar on a terminal, lines elsewhere."""

    def __init__(self, console: Console, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._total = total
        self._clock = clock
        self._answered = 0
        self._printed_at = clock()
        words = TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
        columns = (BarColumn(bar_width=12), MofNCompleteColumn(), TimeElapsedColumn(), words)
        self._bar = Progress(*columns, console=console, expand=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=total)

    @contextlib.contextmanager
    def shown(self) -> Iterator["Asking"]:
        with self._bar:
            yield self

    def answered(self) -> None:
        self._answered += 1
        self._bar.advance(self._task)
        self._print("")

    def show(self, what: str) -> None:
        """What is waited for meanwhile."""
        self._bar.update(self._task, description=what)
        if self._clock() - self._printed_at >= SILENCE_S:
            self._print(f": {what}")

    def _print(self, more: str) -> None:
        self._printed_at = self._clock()
        if not self._console.is_terminal:
            self._console.print(f"{self._answered} of {self._total} answered{more}")


@contextlib.asynccontextmanager
async def watching(metrics_port: int, show: Callable[[str], None]) -> AsyncIterator[None]:
    """While inside, say every second what the worker does."""
    task = asyncio.create_task(_watch(metrics_port, show))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(metrics_port: int, show: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(EVERY_S)
        try:
            show(doing(await asyncio.to_thread(samples, metrics_port)))
        except (OSError, HTTPException, ValueError) as error:
            show(f"the worker does not say what it does ({error})")
