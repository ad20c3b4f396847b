"""The `pelton` command. Each command is imported when it is asked for: all of them together take seconds."""

from collections.abc import Callable
from importlib import import_module, metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from pelton.quiet_imports import quiet_imports

COMMANDS = {
    "demo": "demo:demo",
    "up": "up:up",
    "worker": "worker:worker",
    "serve": "serve:serve",
    "ask": "ask:ask",
    "submit": "submit:submit",
    "report": "reports.report:report",
    "top": "top.command:top",
    "ab": "ab.commands:app",
    "backlog": "backlog:backlog",
    "cache": "cache:app",
    "config": "config:app",
    "dlt": "dlt.commands:app",
    "figures": "figures:app",
    "files": "files.command:app",
    "map": "map:app",
    "reports": "reports.app:app",
}
"""Modules below `pelton.commands`, and what is a command in each: a function, or a group of commands."""


class Commands(TyperGroup):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        names: dict[str, Any] = dict.fromkeys(COMMANDS)
        self.commands = names  # the nearest to a misspelt one is looked for among them

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # the signature is click's
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  # likewise
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        with quiet_imports():
            imported = import_module(f"pelton.commands.{module}")
        return _command(cmd_name, getattr(imported, name))

    def get_params(self, ctx: Any) -> Any:
        return _bare(super().get_params(ctx))


def _command(name: str, found: typer.Typer | Callable[..., None]) -> Any:
    """What typer makes of a function or of a group: it does so only inside a program."""
    program = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    program.callback()(lambda: None)
    if isinstance(found, typer.Typer):
        program.add_typer(found, name=name)
    else:
        program.command(name)(found)
    made: Any = get_command(program)
    command = made.commands[name]
    for each in (command, *getattr(command, "commands", {}).values()):
        _bare(each.get_params(typer.Context(each)))
    return command


def _bare(params: Any) -> Any:
    """Typer makes `--help` and the switches for completion itself, and would write `<bool>` beside them in the help."""
    for each in params:
        if getattr(each, "is_flag", False) and each.metavar is None:
            vars(each).update(metavar="")
    return params


app = typer.Typer(
    name="pelton",
    help="Turns a Kafka topic into finished LLM work: one reply for each chat-completions request.",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(metadata.version("pelton"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, metavar="", help="Print the version and exit."),
    ] = False,
) -> None:
    del version  # its callback has done the work


def main() -> None:
    """Entry point of the console script."""
    app()
