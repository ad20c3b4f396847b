"""What the commands share: consoles, the `--config` option, and errors as one clear line with an exit code."""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console

from pelton.cache.connection import CacheUnavailable
from pelton.logs import configure_logging, writes_json
from pelton.pipeline.outside_text import escaped
from pelton.pipeline.settings.loading import CONFIG_VARIABLE, SettingsError
from pelton.pipeline.settings.log import LogFormat
from pelton.producers.errors import CapReached, NoProgress, ProducerError, ReplyError, ReplyTimeout

log = logging.getLogger(__name__)

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

Verbose = Annotated[
    bool, typer.Option("--verbose", metavar="", help="Log more, the Kafka client's words too: log.level debug.")
]
LogFormatOption = Annotated[
    LogFormat | None, typer.Option("--log-format", help="For people, or one JSON object a line. Default: log.format.")
]


STOP_LIMIT_S = 25.0
"""For what serves: less than the half minute after which Kubernetes kills."""


class Exit(IntEnum):
    """Exit codes of every command that talks to Kafka."""

    OK = 0
    FAILED = 1
    """A request was answered with an error."""
    UNUSABLE = 2
    """Arguments, settings, files, Kafka or Redis: nothing went wrong with a request, but there was no way to go on."""
    TIMED_OUT = 3
    INTERRUPTED = 130
    """By Ctrl-C or SIGTERM."""


class Interrupted(Exception):
    """A command has ended in good order at Ctrl-C; the message says what is left."""


_EXITS: tuple[tuple[type[Exception], Exit], ...] = (
    (SettingsError, Exit.UNUSABLE),
    (CacheUnavailable, Exit.UNUSABLE),
    (Interrupted, Exit.INTERRUPTED),
    (ReplyError, Exit.FAILED),
    (ReplyTimeout, Exit.TIMED_OUT),
    (NoProgress, Exit.TIMED_OUT),
    (CapReached, Exit.TIMED_OUT),
    (ProducerError, Exit.UNUSABLE),
)


def fail(message: str, code: Exit) -> NoReturn:
    """Say it on stderr and end the command. What the message quotes may come from anywhere.

    Where the log is JSON it is a line of the log: whoever reads that can read nothing else.
    """
    if writes_json():
        log.critical("%s", message)
        raise typer.Exit(code)
    stderr.print(f"pelton: {escaped(message, lines=True)}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def say(text: str | bytes) -> None:
    """Print what may come from outside: as it is into a file or a pipe, and so that nothing acts on a terminal."""
    line = text.decode() if isinstance(text, bytes) else text
    typer.echo(escaped(line, lines=True) if sys.stdout.isatty() else line)


class Terminated(KeyboardInterrupt):
    """SIGTERM: what Ctrl-C cleans up is cleaned up."""


@contextmanager
def clear_errors(
    *, interrupted: str = "Interrupted.", log_format: LogFormat | None = None, until_stopped: bool = False
) -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and the errors a user can mend into one message and an exit code; leave all others.

    A `log_format` that was asked for holds from here on, so that settings that cannot be read are told in it too.
    SIGTERM is the usual end of what runs `until_stopped`: no message, and exit code 0.
    """
    if log_format is not None:
        configure_logging(log_format=log_format)
    try:
        with _terminable():
            yield
    except KeyboardInterrupt as error:
        if until_stopped and isinstance(error, Terminated):
            raise typer.Exit(Exit.OK) from None
        fail(interrupted, Exit.INTERRUPTED)
    except tuple(kind for kind, _ in _EXITS) as error:
        fail(str(error), next(code for kind, code in _EXITS if isinstance(error, kind)))


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM raises `Terminated` inside. Signals are the main thread's: elsewhere nothing is changed."""

    def terminate(*_: object) -> NoReturn:
        raise Terminated

    if not _is_main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def run_async(main: Coroutine[Any, Any, T], *, interrupted: str = "Interrupted.") -> T:
    """Run a command's coroutine under `clear_errors`. The first Ctrl-C or SIGTERM cancels it and lets it clean up."""
    with clear_errors(interrupted=interrupted):
        return asyncio.run(_until_terminated(main))


async def _until_terminated(main: Coroutine[Any, Any, T]) -> T:
    """As asyncio itself does for Ctrl-C: an error raised anywhere in the loop would be no orderly end."""
    running = asyncio.ensure_future(main)
    told = False

    def cancel() -> None:
        nonlocal told
        told = True
        running.cancel()

    if _is_main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, cancel)
    try:
        return await running
    except asyncio.CancelledError:
        if told:
            raise Terminated from None
        raise


def run_service(serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run what serves until SIGTERM or Ctrl-C, which cancels it, at its start too, and lets it clean up.

    A second one ends the process at once, and so does `STOP_LIMIT_S`: whatever it waits for, nothing is lost by that.
    """
    stopped = threading.Event()

    def limit() -> None:
        if not stopped.wait(STOP_LIMIT_S):
            _end_at_once(f"not stopped after {STOP_LIMIT_S:g} s")

    try:
        asyncio.run(_until_told(serve(), threading.Thread(target=limit, name="stop limit", daemon=True)))
    finally:
        stopped.set()


async def _until_told(serve: Coroutine[Any, Any, None], end: threading.Thread) -> None:
    serving = asyncio.ensure_future(serve)
    told = False

    def stop() -> None:
        nonlocal told
        if told:
            _end_at_once("told to stop a second time")
        told = True
        serving.cancel()
        end.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await serving
    except asyncio.CancelledError:
        if not told:
            raise


def _end_at_once(why: str) -> NoReturn:
    log.error("%s: ending at once", why)
    logging.shutdown()
    os._exit(Exit.FAILED)


def quiet_libraries() -> None:
    """For commands whose own messages say it better: no log lines of the Kafka client among them.

    A failed client leaves futures unread, which asyncio's logger reports. The Kafka client's lines are still logged, as
    they have the cause of a failed connection, but go nowhere else.
    """
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    client = logging.getLogger("aiokafka")
    client.addHandler(logging.NullHandler())
    client.propagate = False
