"""`POST /v1/chat/completions`: a request through the topics, waited for, or watched while it is answered."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pelton.pipeline.settings.serve import ServeSettings
from pelton.pipeline.tracing.spans import TraceHeaders
from pelton.pipeline.wire import contract
from pelton.producers.client import InferenceClient
from pelton.producers.errors import ReplyError
from pelton.producers.http.exchange import Exchange
from pelton.producers.http.live_events import live_events
from pelton.producers.http.requests import read_object
from pelton.producers.http.streaming import chunks
from pelton.producers.kafka.cancel_sender import CancelSender
from pelton.producers.kafka.delta_reader import DeltaReader
from pelton.producers.replies import Reply

_OK = 200
_STREAM_FIELDS = ("stream", "stream_options")
_EVENTS = "text/event-stream"


class Chat:
    """Lives on the event loop. Without `deltas` a stream is the finished answer in pieces."""

    def __init__(
        self,
        client: InferenceClient,
        cancels: CancelSender,
        settings: ServeSettings,
        deltas: DeltaReader | None = None,
    ) -> None:
        self._client = client
        self._cancels = cancels
        self._settings = settings
        self._deltas = deltas

    async def complete(self, request: Request, tenant: str) -> Response:
        """Wait for the reply and pass it on as it is. A client that hangs up cancels its request."""
        body = await read_object(request, self._settings.max_body_bytes)
        wants = {name: body.pop(name, None) for name in _STREAM_FIELDS}
        exchange = Exchange(
            self._client,
            self._cancels,
            orjson.dumps(body),
            tenant=tenant,
            timeout_s=self._settings.request_timeout_s,
            deltas=self._deltas if wants["stream"] else None,
            trace=_trace(request),
        )
        with contextlib.ExitStack() as unless_watched:
            unless_watched.callback(exchange.close)
            if await exchange.begun(request):
                unless_watched.pop_all()
                events = live_events(exchange, with_usage=_with_usage(wants))
                return StreamingResponse(events, _OK, _id(exchange.correlation_id), _EVENTS)
            return _response(exchange.reply(), wants)


def _trace(request: Request) -> TraceHeaders:
    """The caller's trace context, which the request's continues."""
    names = (contract.TRACEPARENT, contract.TRACESTATE)
    return [(name, request.headers[name].encode("latin-1")) for name in names if name in request.headers]


def _response(reply: Reply, wants: dict[str, Any]) -> Response:
    error = _error_of(reply)
    if error is not None:
        return Response(reply.value, error.status, _headers(reply), "application/json")
    if not wants["stream"]:
        return Response(reply.value, _OK, _headers(reply), "application/json")
    events = chunks(reply.body(), with_usage=_with_usage(wants))
    return StreamingResponse(_sent(events), _OK, _headers(reply), _EVENTS)


def _with_usage(wants: dict[str, Any]) -> bool:
    options = wants["stream_options"]
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _error_of(reply: Reply) -> ReplyError | None:
    try:
        return reply.error
    except ReplyError as invalid:
        return invalid


def _id(correlation_id: bytes) -> dict[str, str]:
    return {"x-request-id": correlation_id.decode("latin-1")}


def _headers(reply: Reply) -> dict[str, str]:
    """What the reply record says of itself: where it came from, how long each stage took."""
    told = {
        name: value.decode("latin-1")
        for name, value in reply.headers.items()
        if name.startswith(contract.OWN_PREFIX) and value.isascii() and value.decode("ascii").isprintable()
    }
    return {**_id(reply.correlation_id), **told, **_retry_after(reply)}


def _retry_after(reply: Reply) -> dict[str, str]:
    """Under the names that HTTP and OpenAI's clients have for it, which wait for so long by themselves."""
    wait_ms = reply.headers.get(contract.RETRY_AFTER_MS, b"")
    if not wait_ms.isdigit():
        return {}
    return {"retry-after": str(math.ceil(int(wait_ms) / 1_000)), "retry-after-ms": wait_ms.decode()}


async def _sent(events: list[bytes]) -> AsyncIterator[bytes]:
    with contextlib.suppress(asyncio.CancelledError):
        for event in events:
            yield event
