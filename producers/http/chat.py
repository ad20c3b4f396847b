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
from pelton.producers.http.errors import BadRequest
from pelton.producers.http.exchange import Exchange
from pelton.producers.http.live_events import live_events
from pelton.producers.http.request_ids import request_id
from pelton.producers.http.requests import read_object
from pelton.producers.http.streaming import StreamOptions, chunks, take_stream_options
from pelton.producers.kafka.cancel_sender import CancelSender
from pelton.producers.kafka.delta_reader import DeltaReader
from pelton.producers.replies import Reply

_OK = 200
_OURS = 500
"""The status of errors that are the workers' own, who have tried again before they answered."""
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
        options = take_stream_options(body)
        exchange = Exchange(
            self._client,
            self._cancels,
            request_id(request),
            _encoded(body),
            tenant=tenant,
            timeout_s=self._settings.request_timeout_s,
            deltas=self._deltas if options.stream else None,
            trace=_trace(request),
        )
        with contextlib.ExitStack() as unless_watched:
            unless_watched.callback(exchange.close)
            if await exchange.begun(request):
                unless_watched.pop_all()
                events = live_events(exchange, with_usage=options.include_usage)
                return StreamingResponse(events, _OK, media_type=_EVENTS)
            return _response(exchange.reply(), options)


def _encoded(body: dict[str, Any]) -> bytes:
    """Raises `BadRequest` for what can be read and not written: it is nested too deeply."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise BadRequest(f"The body cannot be passed on: {error}.", code="invalid_json") from None


def _trace(request: Request) -> TraceHeaders:
    """The caller's trace context, which the request's continues."""
    names = (contract.TRACEPARENT, contract.TRACESTATE)
    return [(name, request.headers[name].encode("latin-1")) for name in names if name in request.headers]


def _response(reply: Reply, options: StreamOptions) -> Response:
    error = _error_of(reply)
    if error is not None:
        headers = _headers(reply) | _unless_worth_retrying(error.status)
        return Response(reply.value, error.status, headers, "application/json")
    if not options.stream:
        return Response(reply.value, _OK, _headers(reply), "application/json")
    events = chunks(reply.body(), with_usage=options.include_usage)
    return StreamingResponse(_sent(events), _OK, _headers(reply), _EVENTS)


def _error_of(reply: Reply) -> ReplyError | None:
    try:
        return reply.error
    except ReplyError as invalid:
        return invalid


def _headers(reply: Reply) -> dict[str, str]:
    """What the reply record says of itself: where it came from, how long each stage took."""
    told = {
        name: value.decode("latin-1")
        for name, value in reply.headers.items()
        if name.startswith(contract.OWN_PREFIX) and value.isascii() and value.decode("ascii").isprintable()
    }
    return told | _retry_after(reply)


def _unless_worth_retrying(status: int) -> dict[str, str]:
    """OpenAI's clients ask again after any error of the server. What workers have given up is not to be tried by more
    of them: a request that ends workers would end two more.
    """
    return {"x-should-retry": "false"} if status == _OURS else {}


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
