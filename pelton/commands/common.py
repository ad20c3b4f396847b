"""What the commands share: consoles, the `--config` option, and errors as one clear line with an exit code."""

import asyncio
import logging
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console

from pelton.cache.connection import CacheUnavailable
from pelton.pipeline.outside_text import escaped
from pelton.pipeline.settings.loading import CONFIG_VARIABLE, SettingsError
from pelton.producers.errors import CapReached, NoProgress, ProducerError, ReplyError, ReplyTimeout

T = TypeVar("T")

stderr = Console(stderr=True)

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="PATH",
        dir_okay=False,
        help=f"TOML file with settings, which PELTON_* variables override. Default: ${CONFIG_VARIABLE}.",
    ),
]


class Exit(IntEnum):
    """Exit codes of every command that talks to Kafka."""

    OK = 0
    FAILED = 1
    """A request was answered with an error."""
    UNUSABLE = 2
    """Arguments, settings, files, Kafka or Redis: nothing went wrong with a request, but there was no way to go on."""
    TIMED_OUT = 3
    INTERRUPTED = 130


_EXITS: tuple[tuple[type[Exception], Exit], ...] = (
    (SettingsError, Exit.UNUSABLE),
    (CacheUnavailable, Exit.UNUSABLE),
    (ReplyError, Exit.FAILED),
    (ReplyTimeout, Exit.TIMED_OUT),
    (NoProgress, Exit.TIMED_OUT),
    (CapReached, Exit.TIMED_OUT),
    (ProducerError, Exit.UNUSABLE),
)


def fail(message: str, code: Exit) -> NoReturn:
    """Say it on stderr and end the command. What the message quotes may come from anywhere."""
    stderr.print(f"pelton: {escaped(message, lines=True)}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def say(text: str | bytes) -> None:
    """Print what may come from outside: as it is into a file or a pipe, and so that nothing acts on a terminal."""
    line = text.decode() if isinstance(text, bytes) else text
    typer.echo(escaped(line, lines=True) if sys.stdout.isatty() else line)


@contextmanager
def clear_errors(*, interrupted: str = "Interrupted.") -> Iterator[None]:
    """Turn the errors a user can mend, and Ctrl-C, into one message and an exit code; leave all others as they are."""
    try:
        yield
    except KeyboardInterrupt:
        fail(interrupted, Exit.INTERRUPTED)
    except tuple(kind for kind, _ in _EXITS) as error:
        fail(str(error), next(code for kind, code in _EXITS if isinstance(error, kind)))


def run_async(main: Coroutine[Any, Any, T], *, interrupted: str = "Interrupted.") -> T:
    """Run a command's coroutine under `clear_errors`. The first Ctrl-C cancels it and lets it clean up."""
    with clear_errors(interrupted=interrupted):
        return asyncio.run(main)


def quiet_libraries() -> None:
    """For commands whose own messages say it better: no log lines of the Kafka client among them.

    A failed client leaves futures unread, which asyncio's logger reports. The Kafka client's lines are still logged, as
    they have the cause of a failed connection, but go nowhere else.
    """
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    client = logging.getLogger("aiokafka")
    client.addHandler(logging.NullHandler())
    client.propagate = False
