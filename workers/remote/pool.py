"""All endpoints together: who gets the next request, and who watches over those that are down."""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence

from pelton.pipeline.backoff import Backoff
from pelton.workers.notices import Notice
from pelton.workers.remote.caller import Caller
from pelton.workers.remote.endpoint import Endpoint
from pelton.workers.remote.verdict import Fate, Verdict

log = logging.getLogger(__name__)

PROBE_FIRST_S = 0.25
PROBE_MAX_S = 30.0


class EndpointPool:
    """Lives on the event loop; `room` is for any thread.

    `on_room` is called when there may be room where none was.
    """

    def __init__(self, endpoints: Sequence[Endpoint], caller: Caller, on_room: Callable[[], None]) -> None:
        self.endpoints = tuple(endpoints)
        self._caller = caller
        self._on_room = on_room
        self._waiting: deque[asyncio.Future[Endpoint]] = deque()
        self._probes: dict[Endpoint, asyncio.Task[None]] = {}
        self._wake: asyncio.TimerHandle | None = None
        self._notices = {endpoint: Notice(log) for endpoint in self.endpoints}

    @property
    def running(self) -> int:
        """Requests that are with an endpoint now."""
        return sum(endpoint.running for endpoint in self.endpoints)

    def room(self, now: float) -> int:
        """Requests that the endpoints may be given beyond those they have."""
        return sum(endpoint.free(now) for endpoint in self.endpoints)

    async def take(self) -> Endpoint:
        """Wait for a place with an endpoint, first come first served; give it back by `give`."""
        if not self._waiting and (endpoint := self._freest()) is not None:
            endpoint.running += 1
            return endpoint
        place: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._deal()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._release(place.result())
            raise
        finally:
            if place in self._waiting:
                self._waiting.remove(place)

    def give(self, endpoint: Endpoint, verdict: Verdict | None, sent_at: float) -> None:
        """A call is over, with a verdict or without one, as when it was cancelled."""
        now = time.monotonic()
        if verdict is not None:
            self._learn(endpoint, verdict, sent_at, now)
        self._release(endpoint)

    async def close(self) -> None:
        if self._wake is not None:
            self._wake.cancel()
        probes = list(self._probes.values())
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)

    def _learn(self, endpoint: Endpoint, verdict: Verdict, sent_at: float, now: float) -> None:
        notice = self._notices[endpoint]
        endpoint.fates[verdict.fate] += 1
        match verdict.fate:
            case Fate.ANSWERED:
                endpoint.answered()
                notice.over("endpoint %s answers again", endpoint.url)
                return
            case Fate.REFUSED:
                endpoint.refused()
                return
            case Fate.BUSY:
                endpoint.busy(sent_at, now, verdict.retry_after_s)
            case Fate.FAILED:
                endpoint.failed(sent_at, now)
            case Fate.UNREACHABLE:
                endpoint.unreachable()
        notice.say("endpoint %s: %s", endpoint.url, verdict.message)
        if endpoint.down and endpoint not in self._probes:
            probe = asyncio.create_task(self._watch(endpoint), name=f"probe of {endpoint.url}")
            self._probes[endpoint] = probe
            probe.add_done_callback(lambda _: self._probed(endpoint))

    def _probed(self, endpoint: Endpoint) -> None:
        """Whatever ended the probe: an endpoint that nobody looks after must not stay down."""
        probe = self._probes.pop(endpoint)
        if not probe.cancelled() and (error := probe.exception()) is not None:
            log.error("the probe of endpoint %s failed; it is used again", endpoint.url, exc_info=error)
            endpoint.is_back()
            self._deal()

    async def _watch(self, endpoint: Endpoint) -> None:
        """Look after an endpoint that is down, less and less often, until it has answered a request."""
        backoff = Backoff(PROBE_FIRST_S, PROBE_MAX_S)
        while endpoint.down or endpoint.trial:
            await asyncio.sleep(backoff.next_s())
            if not endpoint.down:
                continue
            fault = await self._caller.is_there(endpoint.url)
            if fault is None:
                endpoint.is_back()
                self._deal()
            else:
                self._notices[endpoint].say("endpoint %s is not used: %s", endpoint.url, fault)

    def _release(self, endpoint: Endpoint) -> None:
        endpoint.running -= 1
        self._deal()

    def _deal(self) -> None:
        """Give the free places to those that wait."""
        while self._waiting and (endpoint := self._freest()) is not None:
            place = self._waiting.popleft()
            if not place.done():
                endpoint.running += 1
                place.set_result(endpoint)
        self._wake_later()
        self._on_room()

    def _freest(self) -> Endpoint | None:
        now = time.monotonic()
        free = max(endpoint.free(now) for endpoint in self.endpoints)
        if free <= 0:
            return None
        return random.choice([each for each in self.endpoints if each.free(now) == free])  # noqa: S311 (no secret)

    def _wake_later(self) -> None:
        """At the end of the first pause, as nothing else happens then."""
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        now = time.monotonic()
        ends = [each.paused_until for each in self.endpoints if not each.down and each.paused_until > now]
        if ends:
            self._wake = asyncio.get_running_loop().call_later(min(ends) - now, self._deal)
