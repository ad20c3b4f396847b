"""`pelton report`: one report, from a job file to documents in a folder."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from pelton.commands.common import Config, Exit, clear_errors, fail, quiet_libraries, run_async, stderr
from pelton.commands.reports.progress import report_progress
from pelton.pipeline.settings.loading import Settings, load_settings
from pelton.producers.reports.assembly.outputs import write_outputs
from pelton.producers.reports.assembly.report import JobState, Report
from pelton.producers.reports.client import ReportClient
from pelton.producers.reports.planning.plan import Plan
from pelton.producers.reports.service.records import JobStatus
from pelton.producers.reports.spec.model import JobSpec
from pelton.producers.reports.spec.reading import read_job
from pelton.reports.local import local_services
from pelton.stack.errors import StackError


def report(
    job: Annotated[Path, typer.Argument(metavar="JOB", dir_okay=False, help="The job, YAML or JSON.")],
    out: Annotated[Path, typer.Option("--out", "-o", file_okay=False, help="Write the report into this folder.")],
    local: Annotated[
        bool,
        typer.Option(
            "--local", metavar="", help="Start Kafka, Valkey, a worker and the job service here, for this job."
        ),
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0, help="Give up after so many seconds without progress; 0: never.")
    ] = 0,
    config: Config = None,
) -> None:
    """Make a report: send the job, show how its sections get on, and write the documents.

    The job names its sources (CSV, JSON, Markdown, HTML, text) and a kind of
    report: earnings-summary, risk-brief, market-brief, or one of your own.
    Asked for again, only sections whose sources have changed are generated;
    an interrupted command can be repeated at no cost.

    Exit codes: 0 written (sections may be flagged); 1 the job failed; 2 a job,
    source or setting that cannot be used, or no Kafka; 3 no progress within
    --timeout; 130 interrupted.
    """
    quiet_libraries()
    with clear_errors():
        settings = load_settings(config)
        spec = read_job(job, templates=settings.reports.templates)
        Plan(spec)  # what the job service would refuse is refused before anything is started or sent
        _make_folder(out)
        try:
            with local_services(stderr) if local else contextlib.nullcontext(settings) as found:
                finished = _run(found, spec, timeout)
        except StackError as error:
            fail(str(error), Exit.UNUSABLE)
    if finished.state is not JobState.DONE:
        fail(f"Job {finished.id} {finished.state}: {finished.message}", Exit.FAILED)
    try:
        written = write_outputs(finished, out)
    except OSError as error:
        fail(f"The report cannot be written: {error}. Repeat the command: the job is finished.", Exit.UNUSABLE)
    for path in written:
        typer.echo(str(path))
    flagged = [section.title for section in finished.sections if section.flagged]
    if flagged:
        stderr.print(f"Flagged, as numbers in it have no source: {', '.join(flagged)}.", style="yellow", markup=False)


def _make_folder(out: Path) -> None:
    """Now, and not when the job is done."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"--out {out} cannot be made: {error.strerror}.", Exit.UNUSABLE)


def _run(settings: Settings, spec: JobSpec, timeout: float) -> Report:
    async def run(show: Callable[[JobStatus], None]) -> Report:
        async with ReportClient(settings.kafka, settings.reports) as client:
            submitted = await client.submit(spec)
            told = f"Job {submitted.job_id} ({submitted.run}) is sent to the job service (`pelton reports serve`)."
            stderr.print(told, markup=False, highlight=False, soft_wrap=True)
            return await client.wait(submitted, show, timeout or None)

    with report_progress(spec) as show:
        return run_async(run(show), interrupted="Interrupted; the job goes on. Repeat the command to get its report.")
