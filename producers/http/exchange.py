"""One request through the topics, for a client of the HTTP face that may hang up."""

import asyncio

from starlette.requests import Request

from pelton.pipeline.tracing.spans import TraceHeaders
from pelton.pipeline.wire.contract import Lane
from pelton.producers.client import InferenceClient
from pelton.producers.errors import ProducerError, ReplyTimeout
from pelton.producers.http.errors import GatewayTimeout, Unavailable
from pelton.producers.kafka.cancel_sender import CancelSender
from pelton.producers.kafka.delta_reader import Delta, DeltaReader
from pelton.producers.replies import Reply


class Exchange:
    """Sent when it is made; to be closed by whoever made it. With `deltas` partial text is asked for."""

    def __init__(  # noqa: PLR0913  # what is asked, through whom, and for how long
        self,
        client: InferenceClient,
        cancels: CancelSender,
        correlation_id: bytes,
        body: bytes,
        *,
        tenant: str,
        timeout_s: float,
        deltas: DeltaReader | None = None,
        trace: TraceHeaders = (),
    ) -> None:
        self.correlation_id = correlation_id
        self._cancels = cancels
        self._tenant = tenant
        self._deltas = deltas
        self._pieces = None if deltas is None else deltas.expect(self.correlation_id)
        self._first: Delta | None = None
        self._reply = asyncio.ensure_future(
            client.request(
                body,
                correlation_id=self.correlation_id,
                tenant=tenant or None,
                timeout_s=timeout_s,
                priority=Lane.INTERACTIVE,
                stream=deltas is not None,
                trace=trace,
            )
        )

    async def begun(self, request: Request) -> bool:
        """Wait for a first piece of text, or else for the reply: True where text came first.

        Raises `Unavailable` where nobody is there any more to read it.
        """
        leaving = asyncio.ensure_future(_hang_up(request))
        piece = asyncio.ensure_future(self.next_piece())
        try:
            await asyncio.wait([piece, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not piece.done():
                raise Unavailable("The client has gone.")
            self._first = piece.result()
        finally:
            leaving.cancel()
            piece.cancel()
        return self._first is not None

    async def next_piece(self) -> Delta | None:
        """The next piece of text; None when the reply is there, or none will come."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._pieces is None:
            await asyncio.wait([self._reply])
            return None
        getting = asyncio.ensure_future(self._pieces.get())
        try:
            await asyncio.wait([self._reply, getting], return_when=asyncio.FIRST_COMPLETED)
            return getting.result() if getting.done() and not self._reply.done() else None
        finally:
            getting.cancel()

    def reply(self) -> Reply:
        """The reply that is there. Raises `ApiError` where none came."""
        try:
            return self._reply.result()
        except ReplyTimeout as error:
            raise GatewayTimeout(str(error), code="timeout") from None
        except ProducerError as error:
            raise Unavailable(str(error), code="kafka_unavailable") from None

    def close(self) -> None:
        """A request that is not answered by now is cancelled."""
        if self._deltas is not None:
            self._deltas.forget(self.correlation_id)
        answered = self._reply.done() and not self._reply.cancelled() and self._reply.exception() is None
        self._reply.cancel()
        if not answered:
            self._cancels.cancel_soon(self.correlation_id, self._tenant)


async def _hang_up(request: Request) -> None:
    """Return when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
