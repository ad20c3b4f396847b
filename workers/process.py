"""One worker as a process: topics, suspects, model, metrics, signals, its tie to its parent, and the worker itself."""

import asyncio
import errno
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pelton.pipeline.lifecycle import Lifecycle, State, ready_file_marker
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.paths import CACHE_VARIABLE, cache_dir
from pelton.pipeline.settings.loading import Settings, SettingsError
from pelton.pipeline.tracing.spans import Traces
from pelton.workers import served_model
from pelton.workers.engine.errors import EngineLostError, ModelLoadError
from pelton.workers.engine.model.files.partial_folders import remove_partial_folders
from pelton.workers.inference.crash_protection import CrashProtection
from pelton.workers.kafka.broker_wait import wait_for_broker
from pelton.workers.kafka.group import prepare_broker
from pelton.workers.kafka.log_limit import limit_logs
from pelton.workers.kafka.outage import one_voice
from pelton.workers.quarantine.in_flight_journal import InFlightJournal
from pelton.workers.quarantine.suspects import SuspectFeed
from pelton.workers.status_server import serve_status
from pelton.workers.supervisor.exit_codes import WorkerExit
from pelton.workers.supervisor.parent_link import ChildState, ParentLink
from pelton.workers.supervisor.watchdog import Watchdog
from pelton.workers.worker import Worker

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parent:
    """What a worker process has from its parent: two descriptors, and the name it goes by in its group."""

    link_fd: int
    journal_fd: int
    identity: str


async def serve(settings: Settings, parent: Parent | None = None, *, traces: Traces | None = None) -> None:
    """Serve until SIGTERM or SIGINT, or until the parent is gone; then drain. While a model loads, end the process.

    The broker is waited for before the model is loaded, so that a wrong setting is reported at once, and the group is
    joined after, so that no partition waits for a model. Raises what those parts raise.
    """
    limit_logs()
    if parent is None:
        guard, lifecycle = CrashProtection.of(settings.worker), Lifecycle(ready_file_marker(settings.worker.ready_file))
    else:
        guard, lifecycle = _under(parent, settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lifecycle.advance, State.DRAINING)
    if not await wait_for_broker(settings.kafka, partial(prepare_broker, settings.kafka), lifecycle.wait_leaving):
        return
    metrics = Metrics()
    async with (
        one_voice(settings.kafka, metrics.kafka_away.set),
        _following(SuspectFeed(settings.kafka, guard.suspects)),
    ):
        with _status(settings, metrics, lifecycle):
            served = await _loaded(settings, lifecycle, guard.on_engine_failure)
            if served is not None:
                try:
                    await Worker(settings, served, lifecycle, metrics, guard, traces=traces).run()
                finally:
                    await asyncio.to_thread(served.close)
                    gc.unfreeze()  # libraries that count what is left at the end (nanobind in triton) would list it all
    if served is None:
        _end_at_once()


async def _loaded(
    settings: Settings, lifecycle: Lifecycle, on_engine_lost: Callable[[Exception], None] = lambda _: None
) -> served_model.ServedModel | None:
    """The model; None where the worker is stopped before it is loaded. Raises what `_load` does."""
    log.info("loading model %s for the %s engine", settings.model.name, settings.engine.kind)
    loop = asyncio.get_running_loop()
    # A thread that ends takes its OpenMP threads with it. Were they to stay beside those of the inference thread,
    # there would be more than cores, and OpenMP would send its threads to sleep between any two products.
    thread = ThreadPoolExecutor(1, "loading")
    loading = loop.run_in_executor(thread, _load, settings, on_engine_lost)
    leaving = asyncio.create_task(lifecycle.wait_leaving())
    either: tuple[asyncio.Future[Any], ...] = (loading, leaving)
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if lifecycle.leaving:
        return None
    leaving.cancel()
    served = await loading
    thread.shutdown()
    # Model, modules and settings stay to the end: they need not be looked through whenever garbage is looked for.
    gc.collect()
    gc.freeze()
    return served


def _end_at_once() -> None:
    """Nothing can interrupt the thread that loads a model, and Python would wait for it at its end."""
    remove_partial_folders(served_model.models_dir())
    log.info("stopped while the model was loading")
    logging.shutdown()
    os._exit(WorkerExit.DRAINED)


def _under(parent: Parent, settings: Settings) -> tuple[CrashProtection, Lifecycle]:
    """Tell the parent how we are, share the journal with it, and do not outlive it."""
    link = ParentLink.inherited(parent.link_fd)
    lifecycle = Lifecycle(lambda state: link.say(ChildState.READY if state is State.READY else ChildState.NOT_READY))
    guard = replace(
        CrashProtection.of(settings.worker),
        journal=InFlightJournal(parent.journal_fd),
        identity=parent.identity,
        on_engine_failure=_crash,
    )
    Watchdog(link, guard.steps, settings.worker.stall_timeout_s, on_orphaned=_drainer(lifecycle)).start()
    return guard, lifecycle


def _drainer(lifecycle: Lifecycle) -> Callable[[], None]:
    """For another thread to call."""
    loop = asyncio.get_running_loop()

    def drain() -> None:
        loop.call_soon_threadsafe(lifecycle.advance, State.DRAINING)

    return drain


def _crash(error: Exception) -> None:
    """End like a crash: to leave the group in good order would free the partitions before the suspects are known."""
    if isinstance(error, EngineLostError):
        log.critical("%s; this process ends, and what ran in it is suspected", error)
    else:
        log.critical("the engine failed; this process ends, and what ran in it is suspected", exc_info=error)
    os._exit(WorkerExit.ENGINE_FAILED)


@asynccontextmanager
async def _following(feed: SuspectFeed) -> AsyncIterator[None]:
    try:
        await feed.start()
        yield
    finally:
        await feed.stop()


@contextmanager
def _status(settings: Settings, metrics: Metrics, lifecycle: Lifecycle) -> Iterator[None]:
    """Raises `SettingsError`."""
    port, host = settings.worker.metrics_port, settings.worker.metrics_host
    try:
        server = serve_status(host, port, metrics.registry, lambda: lifecycle.state)
    except OSError as error:
        raise SettingsError(_without_metrics(port, host, error)) from error
    log.info("metrics and health on http://%s:%d/metrics, /healthz, /readyz", host, server.port)
    try:
        yield
    finally:
        server.close()


def _without_metrics(port: int | None, host: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"worker.metrics_port: another process listens on port {port} of {host}; set another port."
    if error.errno == errno.EACCES:
        return f"worker.metrics_port: this user may not listen on port {port}; set one of 1024 or above."
    return (
        f"worker.metrics_host: {host!r} is no address of this machine ({error}); set 127.0.0.1, or 0.0.0.0 for all "
        "that it has."
    )


def _load(settings: Settings, on_engine_lost: Callable[[Exception], None] = lambda _: None) -> served_model.ServedModel:
    """Raises `ModelLoadError` or `SettingsError` for what another start would meet again."""
    try:
        served = served_model.build(settings, on_engine_lost)
        served.engine.warm_up()
    except (ModelLoadError, SettingsError, ImportError):
        raise
    except OSError as error:
        raise SettingsError(
            f"The model's files cannot be used ({error}): see that model.path can be read, and that {CACHE_VARIABLE} "
            f"is a folder with room that can be written to (now {cache_dir()})."
        ) from error
    except Exception as error:
        log.exception("the model %s could not be made ready", settings.model.name)
        raise ModelLoadError(
            f"model.path: the model could not be made ready ({type(error).__name__}: {error})"
        ) from error
    return served
