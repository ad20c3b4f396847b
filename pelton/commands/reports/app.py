"""`pelton reports`: the job service, and what one asks about jobs."""

import os
import socket
import time
from typing import Annotated

import orjson
import typer
import uvicorn
from rich.console import Console

from pelton.commands.common import (
    Config,
    Exit,
    LogFormatOption,
    Verbose,
    clear_errors,
    fail,
    quiet_libraries,
    run_async,
    run_service,
    say,
)
from pelton.commands.shared.tables import folding_table
from pelton.commands.shared.within_reach import within_reach
from pelton.logs import configure_logging
from pelton.pipeline.lifecycle import State, ready_file_marker
from pelton.pipeline.settings.loading import Settings, load_settings
from pelton.pipeline.tracing.spans import Traces
from pelton.producers.reports.client import ReportClient
from pelton.producers.reports.service.records import JobStatus
from pelton.producers.reports.service.service import serve as serve_jobs
from pelton.producers.reports.service.topics import ensure_topics
from pelton.producers.reports.spec.schema import job_schema
from pelton.producers.reports.web.app import ReportPages
from pelton.producers.reports.web.job_index import JobIndex
from pelton.telemetry import traces

app = typer.Typer(name="reports", help="Report jobs: serve them, list them, cancel them.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON.")]
JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="As `pelton reports list` shows it.")]


@app.command()
def serve(
    config: Config = None,
    verbose: Verbose = False,
    log_format: LogFormatOption = None,
) -> None:
    """Run report jobs until told to stop.

    Any number of services share the jobs; one that dies is taken over. What
    is finished is kept in Kafka: a service can be stopped at any time.

    Exit codes: 0 stopped; 1 it did not stop in time, or was told twice; 2 bad
    settings, or no Kafka.
    """
    with clear_errors(log_format=log_format, until_stopped=True):
        settings = load_settings(config)
        configure_logging(settings.log, verbose=verbose, log_format=log_format)
        with traces(settings.traces, "pelton-reports") as kept:
            run_service(lambda: within_reach(settings.kafka, lambda: _serve(settings, kept)))


async def _serve(settings: Settings, kept: Traces | None) -> None:
    mark = ready_file_marker(settings.reports.ready_file)
    try:
        await serve_jobs(settings.kafka, settings.reports, lambda: mark(State.READY), kept)
    finally:
        mark(State.STOPPED)


@app.command("list")
def list_jobs(config: Config = None, as_json: Json = False) -> None:
    """Show all jobs that are kept, the newest first."""
    quiet_libraries()
    found = run_async(_statuses(config))
    newest = sorted(found.values(), key=lambda status: -status.updated_ms)
    if as_json:
        typer.echo(orjson.dumps([status.model_dump(mode="json") for status in newest]))
        return
    if not newest:
        typer.echo("No jobs yet. Ask for one with `pelton report job.yaml --out DIR`.")
        return
    table = folding_table("job", "title", "entity", "period", "state", "texts", "updated")
    for status in newest:
        row = (status.id, status.title, status.entity, status.period, str(status.state))
        table.add_row(*map(_escaped, row), f"{status.done}/{status.total}", _ago(status.updated_ms))
    Console().print(table)


@app.command()
def status(job_id: JobId, config: Config = None, as_json: Json = False) -> None:
    """Show how one job stands. Exit codes: 0; 1 it is not known."""
    quiet_libraries()
    found = run_async(_statuses(config)).get(job_id)
    if found is None:
        fail(_unknown(job_id), Exit.FAILED)
    if as_json:
        typer.echo(found.encode())
        return
    told = {name: value for name, value in found.model_dump(mode="json").items() if value not in (None, "", [])}
    for name, value in told.items():
        say(f"{name.removesuffix('_ms')}: {_shown(name, value)}")


@app.command()
def cancel(job_id: JobId, config: Config = None) -> None:
    """Take a job back: what was submitted under this id until now ends as cancelled.

    Exit codes: 0; 1 no such job is known, or it has ended.
    """
    quiet_libraries()

    async def run() -> JobStatus | None:
        settings = load_settings(config)
        async with ReportClient(settings.kafka, settings.reports) as client:
            found = (await client.statuses()).get(job_id)
            if found is not None and not found.state.final:
                await client.cancel(job_id)
            return found

    found = run_async(run())
    if found is None:
        fail(_unknown(job_id), Exit.FAILED)
    if found.state.final:
        fail(f"Job {job_id} is {found.state}: there is nothing to cancel.", Exit.FAILED)
    typer.echo(f"Job {job_id} is being cancelled.")


@app.command()
def web(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes any free port.")] = 8_100,
    config: Config = None,
) -> None:
    """Show jobs, their progress and finished reports in the browser, on this machine only.

    Exit codes: 0 stopped; 2 bad settings, or no Kafka.
    """

    async def run() -> None:
        settings = load_settings(config)
        configure_logging(settings.log)
        kafka, reports = settings.kafka, settings.reports
        await ensure_topics(kafka, reports)
        pages = ReportPages(JobIndex(kafka, reports), ReportClient(kafka, reports))
        try:
            listening = socket.create_server(("127.0.0.1", port))
        except OSError as error:
            fail(
                f"--port: port {port} of 127.0.0.1 cannot be listened on: {os.strerror(error.errno or 0)}.",
                Exit.UNUSABLE,
            )
        typer.echo(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        server = uvicorn.Server(uvicorn.Config(pages.application(), log_level="warning", access_log=False))
        await server.serve(sockets=[listening])

    run_async(run())


@app.command()
def schema() -> None:
    """Print the JSON Schema of job files, for editors and checks."""
    typer.echo(orjson.dumps(job_schema(), option=orjson.OPT_INDENT_2))


async def _statuses(config: Config) -> dict[str, JobStatus]:
    settings = load_settings(config)
    async with ReportClient(settings.kafka, settings.reports) as client:
        return await client.statuses()


def _unknown(job_id: str) -> str:
    return f"No job {job_id!r} is known; `pelton reports list` shows all."


def _shown(name: str, value: object) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return _ago(value) if name.endswith("_ms") and isinstance(value, int) else str(value)


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def _ago(when_ms: int) -> str:
    seconds = max(0, int(time.time() - when_ms / 1000))
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {name} ago"
    return f"{seconds} s ago"
