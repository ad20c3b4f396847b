"""How a job gets on, as a bar and the names of the sections that are being written."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pelton.commands.common import stderr
from pelton.producers.reports.service.records import JobStatus
from pelton.producers.reports.spec.model import JobSpec


@contextmanager
def report_progress(job: JobSpec) -> Iterator[Callable[[JobStatus], None]]:
    """A bar on stderr, or lines where that is no terminal; yields what keeps it up to date."""
    titles = {section.id: section.title for section in job.sections}
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=stderr, disable=not stderr.is_terminal) as bar:
        task = bar.add_task("waiting for the job service", total=len(job.sections))

        def show(status: JobStatus) -> None:
            running = ", ".join(titles.get(name, name) for name in status.running)
            text = running or str(status.state)
            bar.update(task, completed=status.done, total=status.total, description=text)
            if not stderr.is_terminal:
                stderr.print(f"{status.done} of {status.total}: {text}", markup=False, highlight=False)

        yield show
