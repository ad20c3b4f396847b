"""Runs one worker as a process: topics, model, metrics, signals, and the worker itself."""

import asyncio
import logging
import signal

from prometheus_client import start_http_server

from pipeline.lifecycle import Lifecycle, State, ready_file_marker
from pipeline.metrics import Metrics
from pipeline.settings import Settings
from workers import engines
from workers.topics import ensure_topics
from workers.worker import Worker

log = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    The broker is asked before the model is loaded, so that a wrong address is told at once, and the group is joined
    after, so that no partition waits for a model. Raises what those parts raise.
    """
    metrics = Metrics()
    lifecycle = Lifecycle(ready_file_marker(settings.worker.ready_file))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lifecycle.advance, State.DRAINING)
    await ensure_topics(settings.kafka)
    if settings.worker.metrics_port is not None:
        start_http_server(settings.worker.metrics_port, settings.worker.metrics_host, metrics.registry)
    log.info("loading model %s for the %s engine", settings.model.name, settings.engine.kind)
    served = await asyncio.to_thread(_load, settings)
    if not lifecycle.leaving:
        await Worker(settings, served, lifecycle, metrics).run()


def _load(settings: Settings) -> engines.Served:
    served = engines.build(settings)
    served.engine.warm_up()
    return served
