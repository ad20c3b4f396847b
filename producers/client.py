"""The client: ask over Kafka as one would over HTTP, one question at a time or a stream of them."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from pelton.pipeline.errors import RequestTooLarge
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.tracing.spans import TraceHeaders, Traces
from pelton.pipeline.wire.chat import ChatCompletion
from pelton.pipeline.wire.contract import Lane
from pelton.producers.errors import ReplyTimeout
from pelton.producers.flow import as_finished
from pelton.producers.kafka.cancel_sender import CancelSender
from pelton.producers.kafka.reply_reader import ReplyReader
from pelton.producers.kafka.request_sender import (
    Acknowledged,
    Body,
    ReplyAddress,
    RequestSender,
    new_correlation_id,
    request_headers,
)
from pelton.producers.replies import Reply, refusal
from pelton.producers.reply_router import ReplyRouter

DEFAULT_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class RequestItem:
    """A body for `submit_many` with what is its own; None: an id that is made, and the tenant given for all."""

    body: Body
    correlation_id: bytes | None = None
    tenant: str | None = None
    session: str | None = None
    deadline_ms: int | None = None
    priority: Lane | None = None


class InferenceClient:
    """Publishes requests and awaits their replies.

        async with InferenceClient(settings.kafka) as client:
            completion = await client.complete([{"role": "user", "content": "Why is the sky blue?"}])

    One client serves any number of tasks of its event loop; opening it costs a few round trips, so share it. Entering
    raises `BrokerUnreachable` or `TopicMissing`. `topic` is where requests go, by default the first of
    `kafka.request_topics`; `reply_partition` is chosen at random where it is not given. With `traces` each
    request has a span when it is sent and one when its reply comes.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        topic: str | None = None,
        reply_partition: int | None = None,
        traces: Traces | None = None,
    ) -> None:
        self._sender = RequestSender(kafka, topic or kafka.request_topics[0], traces)
        self._reader = ReplyReader(kafka, partition=reply_partition)
        self._router = ReplyRouter(self._reader)
        self._cancels = CancelSender(kafka)
        self._cancels_started = False
        self._starting_cancels = asyncio.Lock()
        self._open = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            await self._sender.start()
            stack.push_async_callback(self._sender.stop)
            await self._reader.start()
            stack.push_async_callback(self._reader.stop)
            self._router.start()
            stack.push_async_callback(self._router.stop)
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    @property
    def reply_partition(self) -> int:
        """Where replies come."""
        return self._reader.partition

    async def complete(  # noqa: PLR0913  # all that may be said of a request, each by name
        self,
        messages: Sequence[Mapping[str, Any]],
        model: str = "default",
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        tenant: str | None = None,
        session: str | None = None,
        deadline_ms: int | None = None,
        priority: Lane | None = None,
        **body: Any,
    ) -> ChatCompletion:
        """Ask and wait. `body` holds further fields of the chat-completions body (`temperature=0`, `seed=1`, …).

        In a `session` the workers remember what was said before, and `messages` is only what is new. `deadline_ms`
        (Unix milliseconds) tells them when the answer is of no more use, `priority` whether somebody waits for it.

        Raises `ReplyError` for an error reply,
        `ReplyTimeout` after `timeout_s` seconds, `SendFailed`, `RepliesUnreadable`, `BodyInvalid` for what cannot be
        written as JSON, or `ClientNotOpen`.
        """
        whole = {"model": model, "messages": messages, **body}
        reply = await self.request(
            whole, timeout_s=timeout_s, tenant=tenant, session=session, deadline_ms=deadline_ms, priority=priority
        )
        return reply.completion()

    async def request(  # noqa: PLR0913  # likewise
        self,
        body: Body,
        *,
        correlation_id: bytes | None = None,
        timeout_s: float | None = None,
        tenant: str | None = None,
        session: str | None = None,
        deadline_ms: int | None = None,
        priority: Lane | None = None,
        stream: bool = False,
        trace: TraceHeaders = (),
    ) -> Reply:
        """Send a body and wait for its reply, error replies included. Without `timeout_s` it waits for ever. `stream`
        asks the workers for partial text on their stream topic. `trace` is the W3C trace context that the request
        belongs to, where that is not what the program is just doing.

        A body that Kafka's limits forbid is answered on the spot with `request_too_large`. Raises as `complete`, except
        for `ReplyError`.
        """
        chosen = correlation_id or new_correlation_id()
        waiting = self._router.expect(chosen)
        sending = asyncio.create_task(
            self.send(
                body,
                correlation_id=chosen,
                tenant=tenant,
                session=session,
                deadline_ms=deadline_ms,
                priority=priority,
                stream=stream,
                trace=trace,
            )
        )
        try:
            async with asyncio.timeout(timeout_s):
                # Both at once: when reading stops, or the client is closed, sending may never come to an end.
                either: tuple[asyncio.Future[Any], ...] = (sending, waiting)
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    await sending
                reply = await waiting
                self._sender.spans.received(reply, self._reader.topic)
                return reply
        except TimeoutError:
            raise ReplyTimeout(
                f"No reply within {timeout_s:g} s: is a worker running, and how long is its queue?"
            ) from None
        except RequestTooLarge as error:
            return refusal(chosen, error)
        finally:
            sending.cancel()
            waiting.cancel()

    async def send(  # noqa: PLR0913  # likewise
        self,
        body: Body,
        *,
        correlation_id: bytes,
        tenant: str | None = None,
        session: str | None = None,
        deadline_ms: int | None = None,
        priority: Lane | None = None,
        stream: bool = False,
        trace: TraceHeaders = (),
    ) -> Acknowledged:
        """Send only; returns when Kafka has stored the request. Raises `RequestTooLarge` or `SendFailed`."""
        address = ReplyAddress(self._reader.topic, self._reader.partition)
        headers = request_headers(
            correlation_id,
            address,
            tenant=tenant,
            session=session,
            deadline_ms=deadline_ms,
            priority=priority,
            stream=stream,
        )
        key = None if session is None else session.encode()
        return await self._sender.acknowledgement(await self._sender.post(body, [*headers, *trace], key=key))

    async def cancel(self, *correlation_ids: bytes, tenant: str | None = None) -> None:
        """Take requests of a tenant back, whoever sent them: those that are not answered yet end with `cancelled`.

        Returns when Kafka has the cancels. One that it does not take is logged, and its request answered like any
        other. Raises `BrokerUnreachable`.
        """
        async with self._starting_cancels:
            if not self._cancels_started:
                await self._cancels.start()
                self._open.push_async_callback(self._cancels.stop)
                self._cancels_started = True
        await self._cancels.cancel(correlation_ids, tenant or "")

    async def submit_many(
        self,
        bodies: Iterable[Body | RequestItem] | AsyncIterable[Body | RequestItem],
        *,
        max_in_flight: int = 256,
        timeout_s: float | None = None,
        tenant: str | None = None,
    ) -> AsyncGenerator[Reply, None]:
        """Send all of `bodies` and give out replies as they arrive, error replies included; `index` tells whose.

        A body that has an id, tenant, session or deadline of its own comes in a `RequestItem`; of one session send the
        next turn when the reply to the last is there. `bodies` is read only as fast as replies are taken: at most
        `max_in_flight` requests are unanswered or their replies untaken. `timeout_s` bounds the wait for each one.
        Raises as `request`, ending the stream. Close the iterator (`contextlib.aclosing`) when leaving it early.
        """
        jobs = (
            self._answer(index, item, timeout_s=timeout_s, tenant=tenant) async for index, item in _numbered(bodies)
        )
        async with contextlib.aclosing(as_finished(jobs, limit=max_in_flight)) as replies:
            async for reply in replies:
                yield reply

    async def _answer(self, index: int, item: RequestItem, *, timeout_s: float | None, tenant: str | None) -> Reply:
        reply = await self.request(
            item.body,
            correlation_id=item.correlation_id,
            timeout_s=timeout_s,
            tenant=tenant if item.tenant is None else item.tenant,
            session=item.session,
            deadline_ms=item.deadline_ms,
            priority=item.priority,
        )
        return replace(reply, index=index)


async def _numbered(
    bodies: Iterable[Body | RequestItem] | AsyncIterable[Body | RequestItem],
) -> AsyncIterator[tuple[int, RequestItem]]:
    index = 0
    if isinstance(bodies, AsyncIterable):
        async for body in bodies:
            yield index, _item(body)
            index += 1
    else:
        for index, body in enumerate(bodies):
            yield index, _item(body)


def _item(body: Body | RequestItem) -> RequestItem:
    return body if isinstance(body, RequestItem) else RequestItem(body)
