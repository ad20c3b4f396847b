"""`pelton worker`: inference workers in the foreground, kept running by this process."""

import asyncio
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from aiokafka.errors import KafkaError

from pelton.cache.first_look import look_at_servers
from pelton.commands.common import Config, Exit, LogFormatOption, Verbose, clear_errors, fail
from pelton.logs import configure_logging
from pelton.pipeline.kafka.causes import client_errors, kafka_cause, may_pass
from pelton.pipeline.map_file import body_codec
from pelton.pipeline.settings.loading import Settings, load_settings
from pelton.pipeline.settings.log import LogFormat
from pelton.telemetry import traces
from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.kafka.broker_wait import KafkaUnusable, wait_for_broker
from pelton.workers.kafka.group import prepare_broker
from pelton.workers.kafka.new_group import warn_of_history
from pelton.workers.kafka.topics import TopicsMissing
from pelton.workers.model_place import look_at_model
from pelton.workers.supervisor.crash_handler import crash_handler
from pelton.workers.supervisor.exit_codes import WorkerExit
from pelton.workers.supervisor.gpus import visible_gpus
from pelton.workers.supervisor.identity import number_in
from pelton.workers.supervisor.supervisor import Supervisor

log = logging.getLogger(__name__)


def worker(  # noqa: PLR0913, PLR0917  # a command's options
    config: Config = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Worker processes, one for each GPU. Default: worker.replicas.")
    ] = None,
    map_file: Annotated[
        Path | None,
        typer.Option("--map", metavar="PATH", help="Map for records that are no chat bodies. Default: worker.map."),
    ] = None,
    verbose: Verbose = False,
    log_format: LogFormatOption = None,
    child: Annotated[tuple[int, int, str] | None, typer.Option(hidden=True)] = None,
) -> None:
    """Answer requests from Kafka until told to stop.

    Reads the request topics as members of its consumer group, so any number
    of workers share the work. Settings come from a TOML file and PELTON_*
    variables. A worker process that ends is started again. SIGTERM or Ctrl-C
    drains: what runs is finished, published and committed, what waits is left
    to other workers; a second time ends them at once. A Kafka that is away at
    the start is waited for.

    Exit codes: 0 drained; 1 a worker could not drain, or was ended at once;
    2 bad settings, a Kafka that refuses them, or a model that cannot be
    loaded; 130 Ctrl-C before a worker was started.
    """
    with clear_errors(log_format=log_format, until_stopped=True):
        settings = _mapped(load_settings(config), map_file)
        number = None if child is None else number_in(child[2])
        configure_logging(settings.log, verbose=verbose, log_format=log_format, worker=number)
        if child is not None:
            _serve(settings, child)
        else:
            raise typer.Exit(_keep(settings, replicas, _command(config, map_file, log_format, verbose=verbose)))


def _mapped(settings: Settings, map_file: Path | None) -> Settings:
    """With the map that was asked for. Raises `SettingsError` for one that cannot be used."""
    if map_file is not None:
        settings = settings.model_copy(update={"worker": settings.worker.model_copy(update={"map": map_file})})
    body_codec(settings.worker.map, settings.schemas)
    return settings


def _keep(settings: Settings, replicas: int | None, command: list[str]) -> WorkerExit:
    """Be the parent. What may keep workers from starting is checked here: it is reported once, and early."""
    here = settings.worker if replicas is None else settings.worker.model_copy(update={"replicas": replicas})
    gpus = [] if settings.model.device == "cpu" else visible_gpus()

    async def run() -> WorkerExit:
        with _on_sigterm() as told:
            if await wait_for_broker(settings.kafka, partial(prepare_broker, settings.kafka), told.wait):
                await _look_around(settings)
        if told.is_set():
            log.info("stopped before any worker was started")
            return WorkerExit.DRAINED
        parts = settings.engine.tensor_parallel
        return await Supervisor(here, command, crash_handler(settings.kafka), gpus, parts).run()

    try:
        look_at_model(settings)
        return asyncio.run(run())
    except (KafkaUnusable, TopicsMissing, ModelLoadError) as error:
        fail(str(error), Exit.UNUSABLE)


async def _look_around(settings: Settings) -> None:
    """Say what an operator should know. Raises `CacheUnavailable` for a Redis that cannot be used."""
    for warning in await look_at_servers(settings.cache, settings.session):
        log.warning("%s", warning)
    await warn_of_history(settings.kafka)


@contextmanager
def _on_sigterm() -> Iterator[asyncio.Event]:
    """Set by SIGTERM. Ctrl-C needs nothing here: asyncio cancels what waits and raises KeyboardInterrupt."""
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    try:
        yield told
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _command(config: Path | None, map_file: Path | None, log_format: LogFormat | None, *, verbose: bool) -> list[str]:
    options = [
        *(["--config", str(config)] if config else []),
        *(["--map", str(map_file)] if map_file else []),
        *(["--log-format", log_format] if log_format else []),
        *(["--verbose"] if verbose else []),
    ]
    return [sys.executable, "-P", "-m", "pelton", "worker", *options]


def _serve(settings: Settings, child: tuple[int, int, str]) -> None:
    """Be a worker; the exit code says to the parent how it ended."""
    # The parent needs neither engine nor tokenizer.
    from pelton.workers.process import Parent, serve  # noqa: PLC0415
    from pelton.workers.worker import WorkerFailed  # noqa: PLC0415

    try:
        with client_errors() as logged, traces(settings.traces, "pelton-worker") as kept:
            asyncio.run(serve(settings, Parent(*child), traces=kept))
    except KafkaError as error:
        # The broker may have gone again after it was waited for: the parent then starts this worker anew.
        passing = may_pass(error, logged)
        fail(kafka_cause(settings.kafka, error, logged), Exit.FAILED if passing else Exit.UNUSABLE)
    except (KafkaUnusable, TopicsMissing, ModelLoadError) as error:
        fail(str(error), Exit.UNUSABLE)
    except ImportError as error:
        log.debug("not imported", exc_info=error)
        fail(_not_imported(error, settings), Exit.UNUSABLE)
    except WorkerFailed as error:
        fail(str(error), Exit.FAILED)


def _not_imported(error: ImportError, settings: Settings) -> str:
    """What is there and cannot be loaded, for lack of memory or of a library of the system's, needs no other extra."""
    if isinstance(error, ModuleNotFoundError):
        needed = "remote" if settings.engine.kind == "openai" else "engine"
        return f"engine.kind {settings.engine.kind!r} needs {error.name}: pip install 'pelton[{needed}]'"
    return f"engine.kind {settings.engine.kind!r} needs {error.name}, which is there and cannot be loaded ({error})."
