"""From fetched records to the waiting line: what is asked of each on the way, and where some leave it.

addressed? ─► drafts (decode, render) ─► cache ─► jobs (tokenise) ─► flight ─► line
in a thread                at once  in a thread        equal ones follow
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from pelton.pipeline.errors import Cancelled, DeadlineExceeded, RequestError, UnsupportedHeader
from pelton.pipeline.linger_queue import LingerQueue
from pelton.pipeline.request_queue import QueuedRequest, RequestQueue
from pelton.pipeline.wire import contract
from pelton.workers.cancellation.cancel_topic import Cancels, cancelled
from pelton.workers.cancellation.deadlines import is_too_late, too_late
from pelton.workers.intake.reply_addresses import ReplyAddresses
from pelton.workers.prepare.cache_keys import CacheKeyBuilder
from pelton.workers.prepare.limits import RequestLimits
from pelton.workers.prepare.prepare import make_drafts, make_jobs
from pelton.workers.prepare.session_prompts import SessionPrompts
from pelton.workers.prepare.tokenizer import Codec
from pelton.workers.requests import Delivery, Failed, PreparedRequest, RenderedRequest, Result
from pelton.workers.sessions.coordinator import Opened, SessionCoordinator
from pelton.workers.sharing.reply_cache import ReplyCache
from pelton.workers.sharing.single_flight import SingleFlight


class Admission:
    """Lives on the event loop."""

    def __init__(  # noqa: PLR0913  # the stations of a request's way
        self,
        *,
        addresses: ReplyAddresses,
        codec: Codec,
        limits: RequestLimits,
        keyring: CacheKeyBuilder,
        recall: ReplyCache,
        cancels: Cancels,
        flights: SingleFlight,
        sessions: SessionCoordinator,
        continuing: SessionPrompts,
        line: RequestQueue[PreparedRequest],
        endings: LingerQueue[Result],
    ) -> None:
        self._addresses = addresses
        self._codec = codec
        self._limits = limits
        self._keyring = keyring
        self._recall = recall
        self._cancels = cancels
        self._flights = flights
        self._sessions = sessions
        self._continuing = continuing
        self._line = line
        self._endings = endings

    async def wait_for_room(self) -> int:
        """Wait until at least one more request may be taken in; return how many may."""
        return min(await self._flights.wait_for_room(), await self._line.wait_for_room())

    async def take_in(self, tickets: list[Delivery]) -> None:
        """Bring each request into the line, or to where it waits for others, or to its end."""
        sound: list[Delivery] = []
        refused: list[Failed] = []
        for ticket in tickets:
            try:
                self._check_wanted(ticket)
                sound.append(replace(ticket, envelope=await self._addresses.resolved(ticket.envelope)))
            except (RequestError, DeadlineExceeded, Cancelled) as error:
                refused.append(Failed(self._addresses.to_be_told(ticket, error), error))
        for ticket in filter(_is_turn, sound):
            self._sessions.enter(ticket)
        plain = [ticket for ticket in sound if not _is_turn(ticket)]
        drafts, malformed = await asyncio.to_thread(make_drafts, plain, self._codec, self._limits, self._keyring)
        await self._proceed(drafts, [*refused, *malformed])

    async def continue_sessions(self, opened: Sequence[Opened]) -> None:
        """Take in requests whose session's history was read."""
        drafts, malformed = await asyncio.to_thread(self._continuing.make_drafts, opened)
        for draft in drafts:
            if draft.conversation is not None:
                self._sessions.opened(draft.ticket, draft.conversation)
        await self._proceed(drafts, malformed)

    async def _proceed(self, drafts: Sequence[RenderedRequest], refused: Sequence[Failed]) -> None:
        answered, missing = await self._recall.look_up(drafts)
        await self._endings.put_all([*refused, *answered])
        if missing:
            await self._board(missing)

    async def _board(self, drafts: Sequence[RenderedRequest]) -> None:
        jobs, too_large = await asyncio.to_thread(make_jobs, drafts, self._codec, self._limits)
        await self._endings.put_all(too_large)
        for place in map(_place, jobs):
            if self._flights.board(place):
                await self._line.put(place)

    def _check_wanted(self, ticket: Delivery) -> None:
        if is_too_late(ticket):
            raise too_late("before a worker fetched it")
        if ticket.envelope.session and not self._sessions.available:
            message = f"Header {contract.SESSION} is not supported by this worker, which has no cache.redis_url."
            raise UnsupportedHeader(message, param=contract.SESSION)
        if self._cancels.covers(ticket):
            raise cancelled()


def _is_turn(ticket: Delivery) -> bool:
    return bool(ticket.envelope.session) and ticket.envelope.fault is None


def _place(job: PreparedRequest) -> QueuedRequest[PreparedRequest]:
    now = time.monotonic()
    deadline_ms = job.ticket.envelope.deadline_ms
    expires = None if deadline_ms is None else now + deadline_ms / 1000 - time.time()
    return QueuedRequest(job, len(job.prompt), job.max_new_tokens, now, expires)
