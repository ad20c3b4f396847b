"""The progress bar of the commands that send a batch file."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from pelton.commands.common import stderr
from pelton.producers.batch.submit import Progress


@contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """A progress bar on stderr; yields what keeps it up to date."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("[green]{task.fields[answered]} ok[/] [red]{task.fields[failed]} failed[/]"),
        TextColumn("{task.fields[rate]:.1f}/s"),
        TimeRemainingColumn(),
    )
    bar = ProgressBar(*columns, console=stderr)
    task = bar.add_task("", answered=0, failed=0, rate=0.0)
    first: tuple[float, int] | None = None

    def show(progress: Progress) -> None:
        nonlocal first
        done, now = progress.answered + progress.failed, time.monotonic()
        if first is None:
            bar.start()
            first = now, done
        rate = (done - first[1]) / max(now - first[0], 1e-3)
        counts: dict[str, Any] = {"answered": progress.answered, "failed": progress.failed, "rate": rate}
        bar.update(task, total=progress.requests, completed=done, **counts)

    try:
        yield show
    finally:
        if first is not None:  # stopped without a start, it prints an empty line
            bar.stop()
