"""The publisher: turns endings into records and hands them to their partitions' publishers."""

import asyncio
import logging
from dataclasses import replace

from pelton.pipeline.linger_queue import LingerQueue
from pelton.workers.containment import harmless
from pelton.workers.delivery.assignment import Assignment
from pelton.workers.delivery.reply_builder import ReplyBuilder
from pelton.workers.requests import CacheHit, Failed, Generated, OutgoingReply, Result
from pelton.workers.sessions.coordinator import SessionCoordinator
from pelton.workers.sharing.reply_cache import ReplyCache
from pelton.workers.sharing.single_flight import SingleFlight

log = logging.getLogger(__name__)


class Publisher:
    """Drains the endings, batch by batch."""

    def __init__(  # noqa: PLR0913  # what endings come from, go through and are told to
        self,
        *,
        endings: LingerQueue[Result],
        packer: ReplyBuilder,
        assignment: Assignment,
        flights: SingleFlight,
        recall: ReplyCache,
        sessions: SessionCoordinator,
    ) -> None:
        self._endings = endings
        self._packer = packer
        self._assignment = assignment
        self._flights = flights
        self._recall = recall
        self._sessions = sessions

    async def run(self) -> None:
        """Pass on until the endings are closed and empty; returns when all of it is committed."""
        async for endings in self._endings.batches():
            owed = [ending for ending in endings if self._is_owed(ending)]
            while owed:
                parcels = await asyncio.to_thread(self._packer.pack, owed)
                # What could not be packed ends with an error now: those that wait for its answer are to know.
                due = [
                    parcel
                    for parcel, ending in zip(parcels, owed, strict=True)
                    if parcel.ending is ending or self._is_owed(parcel.ending)
                ]
                owed = [ending for parcel in due for ending in self._deliver(parcel)]
        await self._sessions.settled()
        await self._assignment.settled()

    def _is_owed(self, ending: Result) -> bool:
        """False for what was answered already, or is another worker's to answer."""
        ticket = ending.ticket
        owed = self._assignment.publisher(ticket) is not None
        if isinstance(ending, Failed) and not ending.goes_on:
            owed = owed and not self._flights.disowned(ticket)
            self._flights.failed(ticket, fault=ending.error.dead_letter)
        elif not owed:
            self._flights.failed(ticket)
        return owed

    def _deliver(self, parcel: OutgoingReply) -> list[Result]:
        """Publish a reply, a turn of a session once that is stored. Returns what ends by it: those that followed."""
        ending = parcel.ending
        told_already = isinstance(ending, Generated) and self._flights.disowned(ending.ticket)
        if not (told_already or self._sessions.takes(parcel)):
            self._pass_on(parcel)
        if isinstance(ending, Generated | CacheHit):
            self._keep(parcel, ending)
        if isinstance(ending, Generated):
            return self._flights.landed(ending.ticket, parcel.value, parcel.body)
        return []

    def _keep(self, parcel: OutgoingReply, ending: Generated | CacheHit) -> None:
        with harmless("keep an answer in the cache"):
            # A reply of a session is told again only when its turn is stored: that may fail, or be another worker's.
            keys = replace(ending.keys, resend=None) if ending.ticket.envelope.session else ending.keys
            self._recall.keep(keys, parcel.value, parcel.body, ending.outcome)

    def pass_on_turn(self, parcel: OutgoingReply) -> None:
        """The turn is stored: its reply may be sent, and told again when the same request is sent again."""
        if isinstance(parcel.ending, Generated | CacheHit):
            # The prompt will be another then, the turn being in it: the reply cannot lean on the answer's key.
            keys = replace(parcel.ending.keys, answer=None)
            with harmless("keep an answer in the cache"):
                self._recall.keep(keys, parcel.value, parcel.body, parcel.ending.outcome)
        self._pass_on(parcel)

    def _pass_on(self, parcel: OutgoingReply) -> None:
        """To the partition's publisher, if the partition was not lost meanwhile."""
        if publisher := self._assignment.publisher(parcel.ending.ticket):
            publisher.put(parcel)
