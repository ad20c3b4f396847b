"""The publisher: turns results into records and hands them to their partitions' publishers.

The answer of a generation is packed once; then each of those who wait for it gets its own result. What is packed for a
request of a session waits there until its turn is stored.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from pelton.pipeline.errors import PeltonError
from pelton.pipeline.linger_queue import LingerQueue
from pelton.pipeline.wire.contract import CacheOutcome
from pelton.workers.containment import harmless
from pelton.workers.delivery.assignment import Assignment
from pelton.workers.delivery.reply_builder import ReplyBuilder
from pelton.workers.open_requests import OpenRequests
from pelton.workers.requests import CacheHit, CacheKeys, Delivery, Failed, Generated, OutgoingReply, Result
from pelton.workers.sessions.coordinator import SessionCoordinator
from pelton.workers.sharing.generation import Broken, Computed, Finished, Generation
from pelton.workers.sharing.reply_cache import ReplyCache
from pelton.workers.sharing.single_flight import SingleFlight


class Publisher:
    """Drains the results, batch by batch."""

    def __init__(  # noqa: PLR0913  # what results come from, go through and end
        self,
        *,
        results: LingerQueue[Finished],
        reply_builder: ReplyBuilder,
        assignment: Assignment,
        open_requests: OpenRequests,
        single_flight: SingleFlight,
        reply_cache: ReplyCache,
        sessions: SessionCoordinator,
    ) -> None:
        self._results = results
        self._reply_builder = reply_builder
        self._assignment = assignment
        self._open = open_requests
        self._single_flight = single_flight
        self._reply_cache = reply_cache
        self._sessions = sessions

    async def run(self) -> None:
        """Pass on until the results are closed and empty; returns when all of it is committed."""
        async for finished in self._results.batches():
            owed = [each for one in finished for each in self._owed(one)]
            while owed:
                results = [each.result if isinstance(each, Computed) else each for each in owed]
                replies = await asyncio.to_thread(self._reply_builder.pack, results)
                # Those who waited for an answer are packed when it is: until then more of them may come.
                owed = [more for one, reply in zip(owed, replies, strict=True) for more in self._deliver(one, reply)]
        await self._sessions.settled()
        await self._assignment.settled()

    async def run_turns(self) -> None:
        """Pass on, for ever, the replies of sessions whose turns are stored."""
        async for reply in self._sessions.stored():
            with harmless("keep an answer in the cache"):
                self._keep_turn(reply)
            self._pass_on(reply.ending.delivery, reply)

    def _owed(self, finished: Finished) -> list[Computed | Result]:
        """What is to be packed of it: nothing where nobody waits any more."""
        if isinstance(finished, Broken):
            return [*self._failed(finished.generation, finished.error, finished.attempt)]
        if isinstance(finished, Computed) and not finished.generation.wanted:
            return []
        return [finished]

    def _failed(self, generation: Generation, error: PeltonError, attempt: int = 1) -> list[Failed]:
        told = self._single_flight.fail(generation, fault=error.dead_letter)
        if told is None or not self._open.remove(told):
            return []
        return [Failed(told, error, attempt, tuple(generation.failed_attempts))]

    def _deliver(self, one: Computed | Result, reply: OutgoingReply) -> Sequence[Result]:
        """Hand a reply over. Returns what ends by it: those who waited for the same answer."""
        if isinstance(one, Computed):
            if isinstance(reply.ending, Failed):
                return self._failed(one.generation, reply.ending.error)
            return self._share(one.generation, one.result, reply)
        if isinstance(reply.ending, CacheHit):
            self._keep(one.delivery, reply.ending.keys, reply.ending.outcome, reply)
        self._hand_over(one.delivery, reply)
        return []

    def _share(self, generation: Generation, result: Generated, reply: OutgoingReply) -> list[Result]:
        """Give an answer to all who wait for it. It is kept before its lease is given up."""
        self._keep(generation.job.delivery, generation.job.keys, result.outcome, reply)
        more: list[Result] = []
        waiters = self._single_flight.finish(generation)
        shared_from = reply.trace.headers if generation.job in waiters else ()
        for waiter in waiters:
            if self._open.remove(waiter.delivery):
                if waiter is generation.job:
                    self._hand_over(waiter.delivery, reply)
                else:
                    more.append(generation.joined(waiter, reply.body, reply.value, shared_from))
        return more

    def _hand_over(self, delivery: Delivery, reply: OutgoingReply) -> None:
        """Publish a reply; one of a session once its turn is stored."""
        if not (delivery.envelope.session and self._sessions.takes(reply)):
            self._pass_on(delivery, reply)

    def _pass_on(self, delivery: Delivery, reply: OutgoingReply) -> None:
        """To the partition's publisher, if the partition was not lost meanwhile."""
        if publisher := self._assignment.publisher(delivery):
            publisher.put(reply)

    def _keep(self, delivery: Delivery, keys: CacheKeys, outcome: CacheOutcome, reply: OutgoingReply) -> None:
        with harmless("keep an answer in the cache"):
            # A reply of a session is reported only when its turn is stored: that may fail, or be another worker's.
            keys = replace(keys, resend=None) if delivery.envelope.session else keys
            self._reply_cache.keep(keys, reply.value, reply.body, outcome)

    def _keep_turn(self, reply: OutgoingReply) -> None:
        if isinstance(reply.ending, Generated | CacheHit):
            # The prompt will be another then, the turn being in it: the reply cannot lean on the answer's key.
            keys = replace(reply.ending.keys, answer=None)
            self._reply_cache.keep(keys, reply.value, reply.body, reply.ending.outcome)
