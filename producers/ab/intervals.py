"""Estimates with confidence intervals, for observations that come in clusters.

What one user sends is alike, and users, not requests, were dealt to the variants. So requests are no independent draws:
the variance of a mean is that between units (the linearised ratio estimator), and counts behind other intervals are
divided by the design effect, which is how much wider the mean's interval is than for independent requests.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

LEVEL = 0.95
_NORMAL = NormalDist()
_SURE_DEVIATIONS = 12
"""What lies further from a binomial's mean is not counted: less than 1e-30."""


@dataclass(frozen=True, slots=True)
class Interval:
    """`low` and `high` are infinite or NaN nowhere; where too little is known there is no interval."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean of `count` observations of `units` units. `variance` is the mean's own, with `df` degrees of freedom;
    `design_effect` is at least 1.
    """

    value: float
    count: int
    units: int
    variance: float
    design_effect: float

    @property
    def df(self) -> float:
        return self.units - 1

    @property
    def effective(self) -> float:
        """As many independent observations would say as much."""
        return self.count / self.design_effect


def mean_of(values: Sequence[float], units: Sequence[Hashable]) -> Mean | None:
    """The mean of values by their units; None of fewer than two units."""
    count = len(values)
    totals: defaultdict[Hashable, float] = defaultdict(float)
    if count == 0:
        return None
    value = math.fsum(values) / count
    for each, unit in zip(values, units, strict=True):
        totals[unit] += each - value
    if len(totals) < 2:  # noqa: PLR2004  # one unit has no spread
        return None
    between = math.fsum(total * total for total in totals.values())
    variance = len(totals) / (len(totals) - 1) * between / count**2
    alone = math.fsum((each - value) ** 2 for each in values) / (count - 1) / count
    return Mean(value, count, len(totals), variance, max(1.0, variance / alone) if alone else 1.0)


def mean_interval(mean: Mean, level: float = LEVEL) -> Interval:
    """Student's t over units."""
    half = t_quantile((1 + level) / 2, mean.df) * math.sqrt(mean.variance)
    return Interval(mean.value - half, mean.value + half)


def difference_of_means(first: Mean, second: Mean, level: float = LEVEL) -> Interval:
    """Of `second` - `first`: Welch's interval, with Satterthwaite's degrees of freedom."""
    variance = first.variance + second.variance
    difference = second.value - first.value
    if not variance:
        return Interval(difference, difference)
    df = variance**2 / (first.variance**2 / first.df + second.variance**2 / second.df)
    half = t_quantile((1 + level) / 2, df) * math.sqrt(variance)
    return Interval(difference - half, difference + half)


def wilson(share: float, count: float, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a share seen in `count` draws, which need not be a whole number."""
    z = _NORMAL.inv_cdf((1 + level) / 2)
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def rate_interval(rate: Mean, level: float = LEVEL) -> Interval:
    """Of a mean of zeros and ones."""
    return wilson(rate.value, rate.effective, level)


def difference_of_rates(first: Mean, second: Mean, level: float = LEVEL) -> Interval:
    """Of `second` - `first`: Newcombe's, which joins both Wilson intervals and so never leaves -1 to 1."""
    one, other = rate_interval(first, level), rate_interval(second, level)
    difference = second.value - first.value
    return Interval(
        difference - math.hypot(second.value - other.low, one.high - first.value),
        difference + math.hypot(other.high - second.value, first.value - one.low),
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def quantile_interval(
    ordered: Sequence[float], share: float, design_effect: float = 1.0, level: float = LEVEL
) -> Interval | None:
    """Between two order statistics, whatever the distribution: how many values lie below a quantile is binomial.

    None where too few values are there for the level.
    """
    count = len(ordered)
    effective = math.floor(count / design_effect)
    ranks = _ranks(effective, share, (1 - level) / 2)
    if ranks is None:
        return None
    low, high = ranks
    # Ranks among the effective values stand for the same share of all.
    at_low, at_high = math.floor(low * count / effective), math.ceil(high * count / effective)
    return Interval(ordered[max(0, at_low - 1)], ordered[min(count, at_high) - 1])


def _ranks(count: int, share: float, tail: float) -> tuple[int, int] | None:
    """Ranks, counted from 1, outside of which the quantile lies with a probability of at most `tail` on either side."""
    if count < 1:
        return None
    spread = _SURE_DEVIATIONS * math.sqrt(count * share * (1 - share)) + 1
    first, last = max(0, math.floor(count * share - spread)), min(count, math.ceil(count * share + spread))
    below, low, high = 0.0, 0, None
    for successes in range(first, last + 1):
        below += _binomial(count, share, successes)
        if below <= tail:
            low = successes + 1
        if below >= 1 - tail:
            high = successes + 1
            break
    return None if low == 0 or high is None or high > count else (low, high)


def _binomial(count: int, share: float, successes: int) -> float:
    choose = math.lgamma(count + 1) - math.lgamma(successes + 1) - math.lgamma(count - successes + 1)
    return math.exp(choose + successes * math.log(share) + (count - successes) * math.log1p(-share))


def t_quantile(probability: float, df: float) -> float:
    """Of Student's t: exact for one and two degrees of freedom, else by an expansion around the normal one (Abramowitz
    and Stegun 26.7.5), which is right to a hundredth from three on.
    """
    if df < 2:  # noqa: PLR2004  # Cauchy's
        return math.tan(math.pi * (probability - 0.5))
    if df < 3:  # noqa: PLR2004  # in closed form
        centred = 2 * probability - 1
        return centred * math.sqrt(2 / (1 - centred * centred))
    z = _NORMAL.inv_cdf(probability)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
    )
    return sum(term / df**power for power, term in enumerate(terms))


def share_mismatch(counts: Sequence[int], weights: Sequence[float]) -> float:
    """How likely units are dealt as unevenly as `counts` or worse, by chance, if the shares are as `weights` say.

    Pearson's chi-square; its tail by Wilson and Hilferty's approximation.
    """
    total, whole = sum(counts), math.fsum(weights)
    df = len(counts) - 1
    if df < 1 or total == 0:
        return 1.0
    expected = [total * weight / whole for weight in weights]
    chi = math.fsum((count - mean) ** 2 / mean for count, mean in zip(counts, expected, strict=True))
    if df == 1:
        return math.erfc(math.sqrt(chi / 2))
    spread = 2 / (9 * df)
    return 1 - _NORMAL.cdf(((chi / df) ** (1 / 3) - (1 - spread)) / math.sqrt(spread))
