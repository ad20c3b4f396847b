"""A thing's numbers over time, its own or computed ones, and the choice of those that a sentence speaks of."""

from collections.abc import Sequence
from dataclasses import dataclass

from pelton.producers.reports.figures.checking.facts import Fact, Series
from pelton.producers.reports.figures.lexing.periods import Period
from pelton.producers.reports.figures.quantity import Quantity


@dataclass(frozen=True, slots=True)
class Point:
    """One number at one time. `text` is how a formula shows it."""

    periods: tuple[Period, ...]
    quantity: Quantity
    text: str
    facts: tuple[Fact, ...]
    column: int = 0

    @classmethod
    def of(cls, fact: Fact) -> "Point":
        return cls(fact.periods, fact.quantity, fact.quote, (fact,), fact.column)

    @property
    def time(self) -> tuple[int, int, str, int]:
        last = self.periods[-1] if self.periods else Period()
        return (last.year, last.month, last.part, last.day)


def points_of(series: Series) -> list[Point]:
    """The series' numbers, earliest first."""
    return sorted(map(Point.of, series.facts), key=lambda point: point.time)


def says(periods: Sequence[Period], claimed: Sequence[Period]) -> bool:
    """Whether a number of these periods may be one of the claimed; both empty say nothing against it."""
    if not periods or not claimed:
        return True
    return any(one.agrees_with(two) for one in periods for two in claimed)


def in_time(periods: Sequence[Period]) -> list[Period]:
    return sorted(set(periods), key=lambda period: (period.year, period.month, period.part, period.day))


def _distinct(times: Sequence[Period]) -> list[Period]:
    """Without those that another of the same time says more exactly: "in the fourth quarter, to $5 at 31 December"."""
    exact = [one for one in times if not any(_is_within(two, one) for two in times)]
    return exact or list(times)


def _is_within(one: Period, other: Period) -> bool:
    return (
        one != other and bool(one.month or one.part) and bool(other.part or not other.month) and one.agrees_with(other)
    )


def pairs_over_time(points: Sequence[Point], claimed: Sequence[Period]) -> list[tuple[Point, Point]]:
    """(later, earlier) pairs that a change may be between.

    Two claimed periods: exactly those. One: it and the one before. None: neighbours, and the last with the first.
    """
    times = _distinct(in_time(claimed))
    pairs = [(new, old) for index, new in enumerate(points) for old in points[:index] if new.time != old.time]
    if len(times) >= 2:  # noqa: PLR2004  # a change has two ends
        ends = [(late, early) for index, late in enumerate(times) for early in times[:index]]
        if len(times) == 2 or all(time.year for time in times):  # noqa: PLR2004
            ends = [(times[-1], times[0])] if len(times) == 2 else ends  # noqa: PLR2004
        return [
            (new, old) for new, old in pairs if any(_is_at(new, late) and _is_at(old, early) for late, early in ends)
        ]
    if times:
        return [(new, old) for new, old in _neighbours(points) if _is_at(new, times[0])]
    return _neighbours(points) + ([(points[-1], points[0])] if len(points) > 2 else [])  # noqa: PLR2004


def _is_at(point: Point, period: Period) -> bool:
    return not point.periods or any(one.agrees_with(period) for one in point.periods)


def _neighbours(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    times = sorted({point.time for point in points})
    before = dict(zip(times[1:], times, strict=False))
    return [(new, old) for new in points for old in points if before.get(new.time) == old.time]


def over_time(points: Sequence[Point], claimed: Sequence[Period], *, with_previous: bool) -> list[list[Point]]:
    """The runs of points that a sum or an average may be over."""
    times = in_time(claimed)
    runs: list[list[Point]] = []
    if len(times) >= 2:  # noqa: PLR2004
        named = [point for point in points if says(point.periods, times)]
        if all(any(_is_at(point, time) for point in named) for time in times):
            first, last = points.index(named[0]), points.index(named[-1])
            runs += [named, list(points[first : last + 1])]
    elif times and with_previous:
        runs += [[old, new] for new, old in _neighbours(points) if _is_at(new, times[0])]
    if len(times) <= 1:
        run = [point for point in points if says(point.periods, times)] if times else list(points)
        runs.append(run)
    return [run for run in runs if 2 <= len(run) <= 12]  # noqa: PLR2004  # from a pair to the months of a year
