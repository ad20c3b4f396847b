"""One HTTP server process: made from the settings, run until it is cancelled."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Iterator

import uvicorn

from pelton.pipeline.settings.loading import Settings
from pelton.pipeline.tracing.spans import Traces
from pelton.producers.client import InferenceClient
from pelton.producers.http.app import Faces, make_app
from pelton.producers.http.batch_routes import Batches
from pelton.producers.http.batches.service import BatchService
from pelton.producers.http.batches.topic import ensure_batches_topic
from pelton.producers.http.chat import Chat
from pelton.producers.http.file_store import FileStore
from pelton.producers.http.files import Files
from pelton.producers.http.keys import ApiKeys
from pelton.producers.kafka.cancel_sender import CancelSender
from pelton.producers.kafka.delta_reader import DeltaReader

log = logging.getLogger(__name__)

GRACE_S = 10
"""How long requests under way may take when the server stops."""


async def serve_http(settings: Settings, traces: Traces | None = None) -> None:
    """Serve until it is cancelled. Raises `ProducerError` for what cannot be started."""
    store = await asyncio.to_thread(FileStore, settings.serve.storage)
    try:
        await asyncio.to_thread(store.sweep)
    except OSError as error:
        log.warning("drafts in serve.storage cannot be swept: %r", error)
    keys = ApiKeys.load(settings.serve.keys_file)
    partitions = await ensure_batches_topic(settings)
    cancels = CancelSender(settings.kafka)
    async with contextlib.AsyncExitStack() as stack:
        await cancels.start()
        stack.push_async_callback(cancels.stop)
        client = await stack.enter_async_context(InferenceClient(settings.kafka, traces=traces))
        deltas = None
        if settings.kafka.stream_topic is not None:
            deltas = DeltaReader(settings.kafka, settings.kafka.stream_topic, client.reply_partition)
            await deltas.start()
            stack.push_async_callback(deltas.stop)
        service = BatchService(settings, store, cancels, partitions, traces)
        stack.push_async_callback(service.stop)
        await service.start()
        faces = Faces(
            Chat(client, cancels, settings.serve, deltas),
            Files(store, settings.serve, service.reading),
            Batches(service, store),
            keys,
            models=_models(settings),
            started_at=int(time.time()),
        )
        await _run(_Server(_uvicorn(settings, faces)), service)


def _models(settings: Settings) -> tuple[str, ...]:
    """What requests may ask for: behind a router the experiments and the pools."""
    routing = settings.routing
    return (*routing.experiments, *(routing.pools or (settings.model.name,)), "default")


def _uvicorn(settings: Settings, faces: Faces) -> uvicorn.Config:
    return uvicorn.Config(
        make_app(faces),
        host=settings.serve.host,
        port=settings.serve.port,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=65_536,
    )


class _Server(uvicorn.Server):
    """Signals are its caller's, as there is more to stop, and more to start before."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            log.info("OpenAI's API is served on http://%s:%d/v1", self.config.host, port)


async def _run(server: uvicorn.Server, service: BatchService) -> None:
    """Whichever ends first ends the other; the watcher of batches must not end by itself."""
    serving = asyncio.create_task(server.serve())
    watching = asyncio.create_task(service.watch())
    try:
        await asyncio.wait([serving, watching], return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()
        serving.result()
    finally:
        server.should_exit = True
        await asyncio.wait([serving], timeout=GRACE_S + 1)
        for task in (watching, serving):
            task.cancel()
        await asyncio.gather(watching, serving, return_exceptions=True)
