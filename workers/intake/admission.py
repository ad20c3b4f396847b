"""From fetched records to the queue: what is asked of each on the way, and where some leave it.

addressed? ─► schemas ─► drafts (decode, render) ─► cache ─► jobs (tokenise) ─► generation ─► queue
              of records  in a thread                at once  in a thread        equal ones join
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from pelton.pipeline.errors import UnsupportedHeader
from pelton.pipeline.request_queue import RequestQueue
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.contract import Lane
from pelton.workers.cancellation.cancel_topic import Cancels, cancelled
from pelton.workers.cancellation.deadlines import is_too_late, too_late
from pelton.workers.containment import each, each_async
from pelton.workers.fairness.degrading import Degrading
from pelton.workers.fairness.early_refusal import EarlyRefusal
from pelton.workers.fairness.quota_gate import QuotaGate
from pelton.workers.intake.reply_addresses import ReplyAddresses
from pelton.workers.open_requests import OpenRequests
from pelton.workers.prepare.cache_keys import CacheKeyBuilder
from pelton.workers.prepare.codec import Codec
from pelton.workers.prepare.limits import RequestLimits
from pelton.workers.prepare.prepare import make_drafts, make_jobs
from pelton.workers.prepare.session_prompts import SessionPrompts
from pelton.workers.requests import Delivery, Failed, PreparedRequest, RenderedRequest
from pelton.workers.schemas.api import Schemas
from pelton.workers.sessions.coordinator import Opened, SessionCoordinator
from pelton.workers.sharing.generation import Generation
from pelton.workers.sharing.reply_cache import ReplyCache
from pelton.workers.sharing.single_flight import SingleFlight


class Admission:
    """Lives on the event loop."""

    def __init__(  # noqa: PLR0913  # the stations of a request's way
        self,
        *,
        addresses: ReplyAddresses,
        schemas: Schemas,
        codec: Codec,
        limits: RequestLimits,
        key_builder: CacheKeyBuilder,
        reply_cache: ReplyCache,
        cancels: Cancels,
        open_requests: OpenRequests,
        single_flight: SingleFlight,
        sessions: SessionCoordinator,
        session_prompts: SessionPrompts,
        queue: RequestQueue[Generation],
        quotas: QuotaGate,
        early_refusal: EarlyRefusal,
        degrading: Degrading,
    ) -> None:
        self._addresses = addresses
        self._schemas = schemas
        self._codec = codec
        self._limits = limits
        self._key_builder = key_builder
        self._reply_cache = reply_cache
        self._cancels = cancels
        self._open = open_requests
        self._single_flight = single_flight
        self._sessions = sessions
        self._session_prompts = session_prompts
        self._queue = queue
        self._quotas = quotas
        self._early_refusal = early_refusal
        self._degrading = degrading

    async def close(self) -> None:
        """Let go of what requests are read with."""
        await self._schemas.close()

    async def wait_for_room(self, lane: Lane) -> int:
        """Wait until at least one more request of a lane may be taken in; return how many may."""
        waiting = await self._single_flight.wait_for_room(lane.priority)
        return min(waiting, await self._queue.wait_for_room(lane.priority))

    async def take_in(self, deliveries: list[Delivery]) -> None:
        """Bring each request into the queue, or to where it waits for others, or to its end."""
        addressed, lost = await self._addressed(deliveries)
        nowhere = [replace(failed, delivery=self._addresses.by_default(failed.delivery)) for failed in lost]
        for failed in nowhere:
            self._open.add(failed.delivery)
        ours = [delivery for delivery in addressed if self._open.add(delivery)]
        await self._schemas.look_up(ours, self._open)
        waited = [delivery for delivery in ours if delivery in self._open]
        wanted, unwanted = each("admit", waited, self._admit, lambda delivery: delivery)
        plain = [delivery for delivery in wanted if not _is_turn(delivery)]
        drafts, malformed = await asyncio.to_thread(make_drafts, plain, self._codec, self._limits, self._key_builder)
        await self._proceed(drafts, [*nowhere, *unwanted, *malformed])

    async def run_sessions(self) -> None:
        """Take in, for ever, requests whose session's history was read.

        Each lane by itself: while one has no room, no more histories are read for it, and the other goes on.
        """
        async with asyncio.TaskGroup() as lanes:
            for lane in Lane:
                lanes.create_task(self._run_sessions(lane))

    async def _run_sessions(self, lane: Lane) -> None:
        async for opened in self._sessions.ready(lane):
            await self._continue_sessions(opened)

    async def _continue_sessions(self, opened: Sequence[Opened]) -> None:
        drafts, malformed = await asyncio.to_thread(self._session_prompts.make_drafts, opened)
        ready, failed = each("continue", drafts, self._continue, lambda draft: draft.delivery)
        await self._proceed(ready, [*malformed, *failed])

    async def _proceed(self, drafts: Sequence[RenderedRequest], refused: Sequence[Failed]) -> None:
        answered, missing = await self._reply_cache.look_up(drafts)
        overloaded: list[Failed] = []
        if self._degrading.has_rules:
            missing, overloaded = each("admit", missing, self._degrading.apply, lambda draft: draft.delivery)
        if cut := [draft for draft in missing if draft.shortened_to is not None]:
            found, still_missing = await self._reply_cache.look_up(cut)
            answered += found
            missing = [draft for draft in missing if draft.shortened_to is None] + still_missing
        if ended := [*refused, *overloaded, *answered]:
            await self._open.end(ended)
        if missing:
            await self._generate(missing)

    async def _generate(self, drafts: Sequence[RenderedRequest]) -> None:
        jobs, too_large = await asyncio.to_thread(make_jobs, drafts, self._codec, self._limits)
        if too_large:
            await self._open.end(too_large)
        by_lane = ([job for job in jobs if job.delivery.envelope.lane is lane] for lane in Lane)
        await asyncio.gather(*(self._enter(jobs) for jobs in by_lane))

    async def _enter(self, jobs: Sequence[PreparedRequest]) -> None:
        """Bring those of one lane into the queue, in their order, waiting for room."""
        _, failed = await each_async("queue", jobs, self._join, lambda job: job.delivery)
        if failed:
            await self._open.end(failed)

    async def _join(self, job: PreparedRequest) -> None:
        """Have it wait for its answer, unless it has ended on the way here."""
        if job.delivery not in self._open:
            return
        if not self._single_flight.has(job.keys.flight):
            self._early_refusal.check(job)
        if (generation := self._single_flight.join(job)) is not None:
            await self._quotas.enter(generation)
        elif (
            job.delivery.envelope.lane is Lane.INTERACTIVE
            and (joined := self._single_flight.of(job.delivery)) is not None
        ):
            self._queue.raise_priority(joined, joined.priority)

    async def _addressed(self, deliveries: list[Delivery]) -> tuple[list[Delivery], list[Failed]]:
        if all(delivery.envelope.has_address for delivery in deliveries):
            return deliveries, []
        return await each_async("address", deliveries, self._address, lambda delivery: delivery)

    async def _address(self, delivery: Delivery) -> Delivery:
        envelope = await self._addresses.resolved(delivery.envelope)
        return delivery if envelope is delivery.envelope else replace(delivery, envelope=envelope)

    def _continue(self, draft: RenderedRequest) -> RenderedRequest:
        """Raises the error of one that was cancelled while its session had it."""
        if self._cancels.covers(draft.delivery):
            raise cancelled()
        if draft.conversation is not None:
            self._sessions.opened(draft.delivery, draft.conversation)
        return draft

    def _admit(self, delivery: Delivery) -> Delivery:
        """Raises the error of one that is not to be answered; a session takes its own in."""
        if is_too_late(delivery):
            raise too_late("before a worker fetched it", delivery.envelope.deadline_ms)
        if delivery.envelope.session and not self._sessions.available:
            message = f"Header {contract.SESSION} needs session.redis_url or cache.redis_url, which is unset here."
            raise UnsupportedHeader(message, param=contract.SESSION)
        if self._cancels.covers(delivery):
            raise cancelled()
        if _is_turn(delivery):
            self._sessions.enter(delivery)
        return delivery


def _is_turn(delivery: Delivery) -> bool:
    return bool(delivery.envelope.session) and delivery.envelope.fault is None
