"""The client for programs without an event loop of their own: scripts, notebooks, tasks of schedulers.

Its loop runs in a thread, so that it may be used where a loop runs already, as in a notebook.
"""

import contextlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.tracing.spans import Traces
from pelton.pipeline.wire.chat import ChatCompletion
from pelton.producers.client import InferenceClient, RequestItem
from pelton.producers.kafka.request_sender import Body
from pelton.producers.replies import Reply


class BlockingClient:
    """Publishes requests and waits for their replies.

        with BlockingClient(settings.kafka) as client:
            completion = client.complete([{"role": "user", "content": "Why is the sky blue?"}])

    Its methods take and raise what those of `InferenceClient` do, and may be called from several threads at once.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        topic: str | None = None,
        reply_partition: int | None = None,
        traces: Traces | None = None,
    ) -> None:
        self._client = InferenceClient(kafka, topic=topic, reply_partition=reply_partition, traces=traces)
        self._open = contextlib.ExitStack()
        self._portal: BlockingPortal | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            stack.enter_context(portal.wrap_async_context_manager(self._client))
            self._portal = portal
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._portal = None
        self._open.close()

    def complete(self, messages: Sequence[Mapping[str, Any]], model: str = "default", **options: Any) -> ChatCompletion:
        """Ask and wait; `options` are those of `InferenceClient.complete`, fields of the body among them."""
        return self._loop().call(partial(self._client.complete, messages, model, **options))

    def request(self, body: Body, **options: Any) -> Reply:
        """Send a body and wait for its reply; `options` are those of `InferenceClient.request`."""
        return self._loop().call(partial(self._client.request, body, **options))

    def cancel(self, *correlation_ids: bytes, tenant: str | None = None) -> None:
        """Take requests of a tenant back, as `InferenceClient.cancel` does; from any thread."""
        self._loop().call(partial(self._client.cancel, *correlation_ids, tenant=tenant))

    def submit_many(self, bodies: Iterable[Body | RequestItem], **options: Any) -> Generator[Reply, None, None]:
        """Replies as they arrive; `options` are those of `InferenceClient.submit_many`. Close it when leaving early.

        `bodies` is read in the client's thread.
        """
        portal = self._loop()
        replies = self._client.submit_many(bodies, **options)

        async def following() -> Reply | None:
            return await anext(replies, None)

        try:
            while (reply := portal.call(following)) is not None:
                yield reply
        finally:
            portal.call(replies.aclose)

    def _loop(self) -> BlockingPortal:
        if self._portal is None:
            raise RuntimeError("The client is not open: use it inside `with BlockingClient(...) as client:`.")
        return self._portal
