"""The figures of one experiment: each variant's, and how the others differ from the first."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pelton.pipeline.wire.contract import Route
from pelton.producers.ab.intervals import (
    Interval,
    Mean,
    difference_of_means,
    difference_of_rates,
    mean_interval,
    mean_of,
    quantile,
    quantile_interval,
    rate_interval,
    share_mismatch,
)
from pelton.producers.ab.observations import Observation

MISMATCH = 0.001
"""Shares that chance brings about less often than this are reported as a fault of the experiment."""

Kind = Literal["rate", "ms", "tokens"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A value; no interval where too little was seen. `mean` is what differences are made of; None of a quantile."""

    value: float
    interval: Interval | None
    mean: Mean | None = None


@dataclass(frozen=True, slots=True)
class VariantReport:
    """Of the requests that have their variant by weight, or of the copies of a shadow. `figures` is by the names of
    `METRICS`; a metric that nothing was seen of is missing. `overflowed` of this variant's requests went to another
    model and are counted nowhere else.
    """

    name: str
    models: tuple[str, ...]
    requests: int
    units: int
    overflowed: int
    errors: dict[str, int]
    figures: dict[str, Figure]


@dataclass(frozen=True, slots=True)
class Difference:
    """Of `variant` to `baseline` in one metric."""

    metric: str
    variant: str
    baseline: str
    value: float
    interval: Interval

    @property
    def seen(self) -> bool:
        return self.interval.excludes_zero


@dataclass(frozen=True, slots=True)
class ExperimentReport:
    """`mismatch` is how likely units are dealt so unevenly by chance; None where the weights are not known."""

    name: str
    variants: tuple[VariantReport, ...]
    differences: tuple[Difference, ...]
    mismatch: float | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """What is compared, and what of an answer it is."""

    name: str
    kind: Kind


METRICS = (
    Metric("errors", "rate"),
    Metric("from cache", "rate"),
    Metric("latency", "ms"),
    Metric("latency p50", "ms"),
    Metric("latency p95", "ms"),
    Metric("prompt tokens", "tokens"),
    Metric("new tokens", "tokens"),
)
_QUANTILES = {"latency p50": 0.5, "latency p95": 0.95}


def report(
    name: str, observations: Iterable[Observation], weights: Mapping[str, float] | None, baseline: str | None = None
) -> ExperimentReport:
    """Of the observations of the experiment `name`. Without `baseline` the first of `weights`, else by name."""
    mine = [each for each in observations if each.routed.experiment == name]
    by_weight = [each for each in mine if each.routed.route is Route.WEIGHT]
    copies = [each for each in mine if each.routed.route is Route.SHADOW]
    overflowed = Counter(each.routed.variant for each in mine if each.routed.route is Route.OVERFLOW)
    seen = {each.routed.variant for each in by_weight} | set(overflowed)
    names = list(dict.fromkeys([*(weights or ()), *sorted(seen)]))
    variants = [_variant(each, [one for one in by_weight if one.routed.variant == each], overflowed) for each in names]
    shadows = sorted({each.routed.variant for each in copies})
    shown = [_variant(each, [one for one in copies if one.routed.variant == each], {}) for each in shadows]
    first = baseline or next(iter(names), "")
    others = [*variants, *(replace(each, name=f"{each.name} (shadow)") for each in shown)]
    base = next((each for each in variants if each.name == first), None)
    compared = [] if base is None else [_differences(base, each) for each in others if each is not base]
    mismatch = None if weights is None or overflowed else _mismatch(variants, weights)
    return ExperimentReport(name, tuple(others), tuple(each for group in compared for each in group), mismatch)


def sentence(difference: Difference) -> str:
    """In plain words."""
    kind = next(metric.kind for metric in METRICS if metric.name == difference.metric)
    low, high = difference.interval.low, difference.interval.high
    bounds = f"{amount(low, kind, sign=True)} to {amount(high, kind, sign=True)} at 95 %"
    if not difference.seen:
        return f"{difference.metric}: no difference seen at 95 % ({bounds})."
    more = "more" if difference.value > 0 else "less"
    return f"{difference.metric}: {difference.variant} has {amount(abs(difference.value), kind)} {more} ({bounds})."


def amount(value: float, kind: Kind, *, sign: bool = False) -> str:
    """A metric's value with its unit; differences of rates are percentage points."""
    plus = "+" if sign else ""
    match kind:
        case "rate":
            return f"{value * 100:{plus}.2f} %"
        case "ms":
            return f"{value:{plus},.1f} ms"
        case "tokens":
            return f"{value:{plus},.1f}"


def _variant(name: str, mine: Sequence[Observation], overflowed: Mapping[str, int]) -> VariantReport:
    answers = [each for each in mine if each.error is None]
    figures = {
        "errors": _rate([each.error is not None for each in mine], mine),
        "from cache": _rate([each.from_cache for each in answers], answers),
        "latency": _mean([each.latency_ms for each in answers], answers),
        **{metric: _quantile(answers, share) for metric, share in _QUANTILES.items()},
        "prompt tokens": _mean([each.prompt_tokens for each in answers], answers),
        "new tokens": _mean([each.new_tokens for each in answers], answers),
    }
    return VariantReport(
        name,
        tuple(sorted({each.model for each in mine})),
        len(mine),
        len({each.unit for each in mine}),
        overflowed.get(name, 0),
        dict(Counter(each.error for each in mine if each.error is not None).most_common()),
        {metric: figure for metric, figure in figures.items() if figure is not None},
    )


def _rate(flags: Sequence[bool], mine: Sequence[Observation]) -> Figure | None:
    values = [float(flag) for flag in flags]
    if not values:
        return None
    mean = mean_of(values, [each.unit for each in mine])
    return Figure(sum(values) / len(values), None if mean is None else rate_interval(mean), mean)


def _mean(values: Sequence[float], mine: Sequence[Observation]) -> Figure | None:
    if not values:
        return None
    mean = mean_of(values, [each.unit for each in mine])
    return Figure(sum(values) / len(values), None if mean is None else mean_interval(mean), mean)


def _quantile(answers: Sequence[Observation], share: float) -> Figure | None:
    if not answers:
        return None
    ordered = sorted(each.latency_ms for each in answers)
    value = quantile(ordered, share)
    above = mean_of([float(each.latency_ms > value) for each in answers], [each.unit for each in answers])
    interval = None if above is None else quantile_interval(ordered, share, above.design_effect)
    return Figure(value, interval)


def _differences(base: VariantReport, other: VariantReport) -> list[Difference]:
    found = []
    for metric in METRICS:
        one, two = base.figures.get(metric.name), other.figures.get(metric.name)
        if one is None or two is None or one.mean is None or two.mean is None:
            continue
        between = difference_of_rates if metric.kind == "rate" else difference_of_means
        interval = between(one.mean, two.mean)
        found.append(Difference(metric.name, other.name, base.name, two.value - one.value, interval))
    return found


def _mismatch(variants: Sequence[VariantReport], weights: Mapping[str, float]) -> float | None:
    if {each.name for each in variants} != set(weights):
        return None  # replies of other weights are among them
    return share_mismatch([each.units for each in variants], [weights[each.name] for each in variants])
