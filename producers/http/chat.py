"""`POST /v1/chat/completions`: a request through the topics, waited for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pelton.pipeline.settings.serve import ServeSettings
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.contract import Lane
from pelton.producers.client import InferenceClient
from pelton.producers.errors import ProducerError, ReplyError, ReplyTimeout
from pelton.producers.http.errors import GatewayTimeout, Unavailable
from pelton.producers.http.requests import read_object
from pelton.producers.http.streaming import chunks
from pelton.producers.kafka.cancel_sender import CancelSender
from pelton.producers.kafka.request_sender import new_correlation_id
from pelton.producers.replies import Reply

_OK = 200
_STREAM_FIELDS = ("stream", "stream_options")


class Chat:
    """Lives on the event loop."""

    def __init__(self, client: InferenceClient, cancels: CancelSender, settings: ServeSettings) -> None:
        self._client = client
        self._cancels = cancels
        self._settings = settings

    async def complete(self, request: Request, tenant: str) -> Response:
        """Wait for the reply and pass it on as it is. A client that hangs up cancels its request."""
        body = await read_object(request, self._settings.max_body_bytes)
        wants = {name: body.pop(name, None) for name in _STREAM_FIELDS}
        reply = await self._reply(request, orjson.dumps(body), tenant)
        error = _error_of(reply)
        if error is not None:
            return Response(reply.value, error.status, _headers(reply), "application/json")
        if not wants["stream"]:
            return Response(reply.value, _OK, _headers(reply), "application/json")
        options = wants["stream_options"]
        with_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        events = chunks(reply.body(), with_usage=with_usage)
        return StreamingResponse(_sent(events), _OK, _headers(reply), "text/event-stream")

    async def _reply(self, request: Request, body: bytes, tenant: str) -> Reply:
        correlation_id = new_correlation_id()
        waiting = asyncio.ensure_future(
            self._client.request(
                body,
                correlation_id=correlation_id,
                tenant=tenant or None,
                timeout_s=self._settings.request_timeout_s,
                priority=Lane.INTERACTIVE,
            )
        )
        leaving = asyncio.ensure_future(_hang_up(request))
        try:
            await asyncio.wait([waiting, leaving], return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            raise Unavailable("The client has gone.")
        except ReplyTimeout as error:
            raise GatewayTimeout(str(error), code="timeout") from None
        except ProducerError as error:
            raise Unavailable(str(error), code="kafka_unavailable") from None
        finally:
            leaving.cancel()
            answered = waiting.done() and not waiting.cancelled() and waiting.exception() is None
            waiting.cancel()
            if not answered:
                await self._cancels.cancel([correlation_id], tenant)


async def _hang_up(request: Request) -> None:
    """Return when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


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
    return {"x-request-id": reply.correlation_id.decode("latin-1"), **told}


async def _sent(events: list[bytes]) -> AsyncIterator[bytes]:
    with contextlib.suppress(asyncio.CancelledError):
        for event in events:
            yield event
