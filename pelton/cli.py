"""The `pelton` command."""

from importlib import metadata
from typing import Annotated

import typer

from pelton.commands.ask import ask
from pelton.commands.backlog import backlog
from pelton.commands.cache import app as cache
from pelton.commands.config import app as config
from pelton.commands.demo import demo
from pelton.commands.dlt.commands import app as dlt
from pelton.commands.figures import app as figures
from pelton.commands.files import app as files
from pelton.commands.reports.app import app as reports
from pelton.commands.reports.report import report
from pelton.commands.serve import serve
from pelton.commands.submit import submit
from pelton.commands.up import up
from pelton.commands.worker import worker

app = typer.Typer(
    name="pelton",
    help="Turns a Kafka topic into finished LLM work: one reply for each chat-completions request.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (demo, up, worker, serve, ask, submit, report, backlog):
    app.command()(command)
app.add_typer(cache)
app.add_typer(config)
app.add_typer(dlt)
app.add_typer(figures)
app.add_typer(files)
app.add_typer(reports)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(metadata.version("pelton"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version  # its callback has done the work


def main() -> None:
    """Entry point of the console script."""
    app()
