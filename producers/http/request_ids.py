"""An id for each request, by which its answer, the server's log lines and its record in Kafka are found."""

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pelton.producers.kafka.request_sender import new_correlation_id

HEADER = "x-request-id"
"""Where OpenAI's clients look for it (`_request_id`)."""


class RequestIds:
    """Around the whole application, so that answers to what is not served and to failures have one too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_correlation_id()
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id.decode("ascii")
            await send(message)

        await self._app(scope, receive, send_with_id)


def request_id(request: Request) -> bytes:
    """The id that a request has been given; of a chat completion it is the correlation id."""
    given: bytes = request.state.request_id
    return given
