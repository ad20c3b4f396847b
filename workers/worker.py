"""One worker process, from the model's load to the last commit."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from typing import Any

from pelton.pipeline.kafka.clients import start_client, stop_consumer
from pelton.pipeline.lifecycle import Lifecycle, State
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.settings.loading import Settings
from pelton.pipeline.tracing.spans import Traces
from pelton.workers.assembly import assemble
from pelton.workers.gauges import keep_gauges
from pelton.workers.gpu_gauges import keep_gpu_gauges
from pelton.workers.inference.crash_protection import CrashProtection
from pelton.workers.served_model import ServedModel

log = logging.getLogger(__name__)

CANCEL_S = 5.0
"""How long intake and engine may take to let go of what a drain cuts off."""
LEAVE_S = 5.0
"""How long the broker may take to hear that a member leaves; it finds out by itself when the session has run out."""


class WorkerFailed(Exception):
    """A part of the worker ended that must not; the worker cannot go on and its records go to another."""


class Worker:
    """Runs the parts and drains them. Make it on the loop that runs it."""

    def __init__(  # noqa: PLR0913  # what a worker runs on
        self,
        settings: Settings,
        served: ServedModel,
        lifecycle: Lifecycle,
        metrics: Metrics,
        protection: CrashProtection | None = None,
        *,
        traces: Traces | None = None,
    ) -> None:
        self._settings = settings
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._endpoints = served.endpoints
        self._gpu = served.gpu
        self.parts = assemble(settings, served, metrics, protection or CrashProtection.of(settings.worker), traces)

    async def run(self) -> None:
        """Serve until the lifecycle is draining, then leave in good order.

        Raises `WorkerFailed` when a part of the worker fails, and `KafkaError` when the broker cannot be reached.
        """
        parts, broker = self.parts, self.parts.broker
        try:
            await broker.directory.start()
            await broker.group.start()
            await broker.ranges.start()
            await parts.cancel_topic.start()
            await parts.sharing.cache.start()
            broker.consumer.subscribe(list(self._settings.kafka.request_topics), listener=parts.assignment)
            await start_client(broker.consumer)
            await self._serve()
        finally:
            self._lifecycle.advance(State.STOPPED)
            await self._leave_group()
            await parts.assignment.close()
            await broker.group.close()
            await broker.ranges.close()
            await parts.cancel_topic.stop()
            await parts.sharing.cache.close()
            await parts.session_store.close()
            await parts.quota_store.close()
            await parts.admission.close()
            await broker.directory.close()

    async def _leave_group(self) -> None:
        if isinstance(await stop_consumer(self.parts.broker.consumer, LEAVE_S), TimeoutError):
            log.warning(
                "the broker does not answer: the group %s waits for this worker's session to run out (%d ms)",
                self._settings.kafka.group_id, self._settings.kafka.session_timeout_ms,
            )  # fmt: skip

    def _running(self) -> dict[str, Coroutine[Any, Any, None]]:
        parts = self.parts
        return {
            "publisher": parts.publisher.run(),
            "intake": parts.poller.run(),
            "watch over deadlines": parts.canceller.run(),
            "feed of cancels": parts.cancel_topic.run(),
            "lease gate": parts.leases.run(),
            "session histories": parts.admission.run_sessions(),
            "session turns": parts.sessions.write(),
            "partial text": parts.streams.run(),
            "session replies": parts.publisher.run_turns(),
            "watch over the logs": parts.log_watch.run(),
            "figures": parts.figures.run(),
            "quotas": parts.quotas.run(),
            "gauges": keep_gauges(
                self._metrics,
                queue=parts.queue,
                single_flight=parts.sharing.single_flight,
                sessions=parts.sessions,
                quotas=parts.quotas,
                speed=parts.speed,
                endpoints=self._endpoints,
            ),
            "gauges of the GPU": keep_gpu_gauges(self._metrics, self._gpu),
        }

    async def _serve(self) -> None:
        tasks = {name: asyncio.create_task(part) for name, part in self._running().items()}
        leaving = asyncio.create_task(self._lifecycle.wait_leaving())
        inference = self.parts.inference.start()
        watched = {**tasks, "inference": inference, "partition publishing": self.parts.assignment.failed}
        try:
            self._lifecycle.advance(State.READY)
            await asyncio.wait([leaving, *watched.values()], return_when=asyncio.FIRST_COMPLETED)
            for name, part in watched.items():
                if part.done():
                    raise WorkerFailed(f"The worker's {name} ended: {part.exception()!r}") from part.exception()
            await self._drain(inference, tasks)
        finally:
            self.parts.queue.close()
            self.parts.results.close()
            await _end({**tasks, "wait for the end": leaving})

    async def _drain(self, inference: asyncio.Future[None], tasks: dict[str, asyncio.Task[None]]) -> None:
        """Finish what runs; leave what waits, uncommitted, to the worker that reads it next."""
        parts, intake, publishing = self.parts, tasks["intake"], tasks["publisher"]
        tasks["lease gate"].cancel()
        tasks["session histories"].cancel()
        deadline = time.monotonic() + self._settings.worker.drain_timeout_s
        parts.poller.stop()
        left = parts.queue.close()
        # A poll ends by itself; waiting for room, which nobody makes any more, does not.
        await asyncio.wait([intake], timeout=min(CANCEL_S, deadline - time.monotonic()))
        intake.cancel()
        await asyncio.wait([inference], timeout=max(0.0, deadline - time.monotonic()))
        cut_off = 0
        if not inference.done():
            cut_off = self._cut_off()
            await asyncio.wait([inference], timeout=CANCEL_S)
        parts.results.close()
        _, unpublished = await asyncio.wait([publishing], timeout=max(CANCEL_S, deadline - time.monotonic()))
        log.info("drained: %d left waiting and %d cut off for another worker to answer", len(left), cut_off)
        if unpublished:
            log.warning("the last replies could not be published in time: another worker will answer again")

    def _cut_off(self) -> int:
        """Have nobody wait for what still runs, so that it ends; returns how many generations that are."""
        running = self.parts.inference.running
        for delivery in [delivery for generation in running for delivery in generation.waiters]:
            self.parts.open_requests.remove(delivery)
        return len(running)


async def _end(tasks: Mapping[str, asyncio.Task[None]]) -> None:
    """Cancel all. One that does not end holds up nobody: the group waits for this worker to leave it."""
    for task in tasks.values():
        task.cancel()
    await asyncio.wait(tasks.values(), timeout=CANCEL_S)
    for name, task in tasks.items():
        if not task.done():
            log.error("the worker's %s does not end when it is cancelled; leaving the group without it", name)
        elif not task.cancelled():
            task.exception()  # retrieved: `_serve` reports who ended by an error
