"""The progress bar of the commands that send a batch file."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from pelton.commands.common import stderr
from pelton.producers.batch.submit import Progress

EVERY_S = 0.1
"""A large batch has thousands of replies in a second, and nobody reads so many states of a bar."""


@contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """A progress bar on stderr; yields what keeps it up to date."""
    bar = _Bar()
    try:
        yield bar.show
    finally:
        bar.stop()


class _Bar:
    def __init__(self) -> None:
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("[green]{task.fields[answered]} ok[/] [red]{task.fields[failed]} failed[/]"),
            TextColumn("{task.fields[rate]:.1f}/s"),
            TimeRemainingColumn(),
        )
        self._bar = ProgressBar(*columns, console=stderr)
        self._task = self._bar.add_task("", answered=0, failed=0, rate=0.0)
        self._began: tuple[float, int] | None = None
        self._drawn_at = 0.0
        self._last: Progress | None = None

    def show(self, progress: Progress) -> None:
        self._last, now = progress, time.monotonic()
        if self._began is None:
            self._bar.start()
            self._began = now, progress.answered + progress.failed
        if now - self._drawn_at >= EVERY_S:
            self._draw(progress, now)

    def stop(self) -> None:
        if self._last is not None:  # stopped without a start, it prints an empty line
            self._draw(self._last, time.monotonic())
            self._bar.stop()

    def _draw(self, progress: Progress, now: float) -> None:
        done = progress.answered + progress.failed
        began_at, before = self._began or (now, done)
        rate = (done - before) / max(now - began_at, 1e-3)
        counts: dict[str, Any] = {"answered": progress.answered, "failed": progress.failed, "rate": rate}
        self._bar.update(self._task, total=progress.requests, completed=done, **counts)
        self._drawn_at = now
