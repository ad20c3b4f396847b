"""Under load answers are shortened or requests refused, by rules on how long the backlog takes.

It is done to what has to be generated: what the cache has, or what joins a running answer, costs nothing more.
"""

import math
from dataclasses import dataclass, replace
from typing import Protocol

from pelton.pipeline.errors import Overloaded
from pelton.pipeline.metrics import Metrics, OverloadAction
from pelton.pipeline.settings.quota import OverloadSettings
from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.contract import Lane
from pelton.workers.prepare.cache_keys import CacheKeyBuilder
from pelton.workers.requests import RenderedRequest
from pelton.workers.sharing.single_flight import SingleFlight

LEAST_WAIT_S = 1.0
"""That a refused sender is asked to wait."""


class Backlog(Protocol):
    """Seconds that it takes, NaN while that is unknown."""

    @property
    def seconds(self) -> float: ...

    def give_up(self) -> None:
        """One request less waits."""


@dataclass(slots=True)
class Rule:
    """Holds from when the backlog takes more than `above_s`, if that is set, until it takes less than `below_s`."""

    above_s: float | None
    recovered: float
    holds: bool = False

    @property
    def below_s(self) -> float:
        return self.recovered * (self.above_s or 0.0)

    def look(self, seconds: float) -> bool:
        """Whether it holds at this backlog; one that is unknown changes nothing."""
        if self.above_s is not None and not math.isnan(seconds):
            self.holds = seconds > (self.below_s if self.holds else self.above_s)
        return self.holds


class Degrading:
    """Lives on the event loop."""

    def __init__(
        self,
        settings: OverloadSettings,
        backlog: Backlog,
        single_flight: SingleFlight,
        key_builder: CacheKeyBuilder,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._backlog = backlog
        self._single_flight = single_flight
        self._key_builder = key_builder
        self._actions = metrics.overload_actions
        self._shortening = Rule(settings.shorten_above_s, settings.recovered)
        self._refusing = Rule(settings.refuse_above_s, settings.recovered)

    @property
    def has_rules(self) -> bool:
        """Whether the settings ask for any of it: else `apply` changes nothing."""
        return self._shortening.above_s is not None or self._refusing.above_s is not None

    def apply(self, draft: RenderedRequest) -> RenderedRequest:
        """The request as it may be answered now. Raises `Overloaded`."""
        spared = self._settings.spare_interactive and draft.delivery.envelope.lane is Lane.INTERACTIVE
        if spared or self._single_flight.has(draft.keys.flight):
            return draft
        seconds = self._backlog.seconds
        shortens = self._shortening.look(seconds)
        if self._refusing.look(seconds):
            self._backlog.give_up()
            self._actions.labels(OverloadAction.REFUSED).inc()
            raise _overloaded(seconds, self._refusing)
        return self._shortened(draft) if shortens else draft

    def _shortened(self, draft: RenderedRequest) -> RenderedRequest:
        most, request = self._settings.shorten_to, draft.request
        if not _can_be_cut(request, most) or (request.new_tokens or self._key_builder.default_tokens) <= most:
            return draft
        self._actions.labels(OverloadAction.SHORTENED).inc()
        keys = self._key_builder.keys(draft.delivery, request, draft.text, shortened_to=most)
        return replace(draft, keys=keys, shortened_to=most)


def _can_be_cut(request: ChatRequest, most: int) -> bool:
    """Half of a JSON object, or of a call, is no answer."""
    return not request.shape and (request.min_tokens or 0) <= most


def _overloaded(seconds: float, rule: Rule) -> Overloaded:
    wait_s = max(LEAST_WAIT_S, seconds - rule.below_s)
    return Overloaded(
        f"What waits takes this worker about {seconds:,.0f} s, and above {rule.above_s:,.0f} s it takes nothing more: "
        f"send the request again in {wait_s:,.0f} s.",
        retry_after_s=wait_s,
        for_load=True,
    )
