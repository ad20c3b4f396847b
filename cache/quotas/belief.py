"""Whether what Redis says of everybody's use is all of it, and when a worker may give parts of quotas by itself.

A worker that gives parts while Redis is away has used what Redis does not know. When it is back it says so, and marks
the data as broken; so does who finds other data than it knew. For a window's length after the mark nobody gives more
than its part, whatever Redis says: by then all that may not have been told has left the window, also of a worker that
died or stands still. A worker that has not known the data while they were whole gives nothing until then, since its
part may have been given by another that is no more.
"""

from dataclasses import dataclass, field

from pelton.cache.quotas.window import Window

UNKNOWN = ""


@dataclass(frozen=True, slots=True)
class Timing:
    """`beat_s` is how often Redis hears of what has ended and what still runs. A new worker listens for `listen_s`
    before it believes what it hears: by then others have marked what is broken. Redis is away for `grace_s` before
    parts are given. What a dead worker had running counts for `running_s` more.
    """

    window: Window = field(default_factory=Window)
    beat_s: float = 1.0
    listen_s: float = 2.5
    grace_s: float = 4.0
    running_s: float = 15.0

    @property
    def marks_after_s(self) -> float:
        """Workers see the same outage begin at times that differ by less than this: who was away for so long marks the
        data, as another may have given parts.
        """
        return self.grace_s / 2

    @property
    def leaves_s(self) -> float:
        """When all that was used before has left the window."""
        return (self.window.length_ms + self.window.slot_ms) / 1000


class Belief:
    """Times are seconds on the caller's monotonic clock."""

    def __init__(self, timing: Timing, now: float) -> None:
        self._timing = timing
        self._epoch = UNKNOWN
        self._away_since: float | None = None
        self._whole_at = now + timing.listen_s
        self._knows_all_at = now + timing.leaves_s
        self._heard = False

    @property
    def epoch(self) -> str:
        """The name of the data that this worker knows."""
        return self._epoch

    @property
    def is_away(self) -> bool:
        """Whether Redis did not answer when it was last asked."""
        return self._away_since is not None

    @property
    def is_new(self) -> bool:
        """Whether this worker has not heard of Redis yet, nor that it is away."""
        return not self._heard and not self.is_away

    def marks(self, now: float) -> bool:
        """Whether others must learn that some use may be missing: Redis was away for so long."""
        return self._away_since is not None and now - self._away_since >= self._timing.marks_after_s

    def lost(self, now: float) -> None:
        """Redis does not answer."""
        if self._away_since is None:
            self._away_since = now

    def heard(self, now: float, epoch: str, broken_ms_ago: float | None) -> bool:
        """Redis has answered; its data have this name, and were last marked as broken so long ago. Returns whether this
        worker had known others.
        """
        if not self._heard:
            self._heard, self._whole_at = True, now + self._timing.listen_s
        is_other, self._epoch, self._away_since = self._epoch not in {UNKNOWN, epoch}, epoch, None
        if broken_ms_ago is not None:
            self._whole_at = max(self._whole_at, now - broken_ms_ago / 1000 + self._timing.leaves_s)
        if self.is_whole(now):
            self._knows_all_at = now + self._timing.beat_s + self._timing.leaves_s
        return is_other

    def is_whole(self, now: float) -> bool:
        """Whether Redis may decide alone."""
        return self._heard and not self.is_away and now >= self._whole_at

    def holds_back_s(self, now: float, *, knows_tenant: bool) -> float:
        """How long this worker is to give nothing, not even its part; it may or may not have known what all had used of
        a tenant's quota.
        """
        grace_s = 0.0 if self._away_since is None else self._away_since + self._timing.grace_s - now
        blind_s = 0.0 if knows_tenant else self._knows_all_at - now
        if self._away_since is None:
            blind_s = min(blind_s, self._whole_at - now)
        return max(0.0, grace_s, blind_s)
