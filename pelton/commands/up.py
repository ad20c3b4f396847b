"""`pelton up`: Kafka and Valkey on this machine, until Ctrl-C."""

import asyncio
import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pelton.commands.common import Exit, clear_errors, fail, quiet_libraries, stderr
from pelton.commands.shared.tables import folding_table
from pelton.pipeline.paths import cache_dir
from pelton.pipeline.settings.loading import load_settings
from pelton.stack.env_file import EnvFile
from pelton.stack.errors import StackError
from pelton.stack.jars import ensure_jars
from pelton.stack.stack import LocalStack, StackConfig
from pelton.workers.kafka.group import prepare_broker

_CHECK_INTERVAL_S = 0.5

_Port = Annotated[int, typer.Option(min=0, max=65_535, help="0 takes any free port.")]


def up(
    data: Annotated[
        Path | None, typer.Option(file_okay=False, help="Keep the data here; otherwise it goes when the stack stops.")
    ] = None,
    kafka_port: _Port = 9092,
    valkey_port: _Port = 6379,
    env_file: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the settings here, to `source`; removed at the end.")
    ] = None,
) -> None:
    """Start a Kafka and a Valkey on this machine and keep them running until Ctrl-C.

    Needs no Docker. The first start fetches Kafka, once. Pelton's topics are
    created. To work with it from another shell:

    pelton up --env-file stack.env

    source stack.env && pelton worker

    Exit codes: 0 stopped when asked to; 1 a server died; 2 the settings or
    options cannot be used, or a server could not be started; 130 interrupted
    before.
    """
    quiet_libraries()
    with clear_errors():
        try:
            with ExitStack() as held:
                settings_file = None if env_file is None else held.enter_context(EnvFile(env_file))
                ensure_jars(cache_dir(), console=stderr)
                stderr.print("Starting Kafka and Valkey ...")
                stack = held.enter_context(LocalStack(StackConfig(data, kafka_port, valkey_port)))
                _prepare(stack)
                if settings_file is not None:
                    settings_file.write(stack.exports)
                _announce(stack)
                _serve(stack, _catch_signals())
        except StackError as error:
            fail(str(error), Exit.UNUSABLE)
    stderr.print("Stopped.")


def _prepare(stack: LocalStack) -> None:
    here = {
        "bootstrap_servers": stack.kafka.bootstrap_servers,
        "security_protocol": "PLAINTEXT",
        "create_topics": True,
        "replication_factor": 1,
    }
    asyncio.run(prepare_broker(load_settings().kafka.model_copy(update=here)))


def _catch_signals() -> threading.Event:
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


def _announce(stack: LocalStack) -> None:
    table = folding_table("service", "address", "process", "data")
    for server, address in ((stack.kafka, stack.kafka.bootstrap_servers), (stack.valkey, stack.valkey.url)):
        table.add_row(server.name, address, str(server.pid), str(server.folder))
    Console().print(table)
    for line in stack.exports:
        typer.echo(line)
    typer.echo("Ctrl-C stops both.")


def _serve(stack: LocalStack, stopping: threading.Event) -> None:
    try:
        while not stopping.wait(_CHECK_INTERVAL_S):
            stack.check()
        stderr.print("Stopping ...")
    except StackError as error:
        fail(str(error), Exit.FAILED)
