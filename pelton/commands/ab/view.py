"""How an experiment's report looks: tables and sentences, or JSON."""

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.text import Text

from pelton.commands.shared.tables import folding_table
from pelton.pipeline.outside_text import escaped
from pelton.producers.ab.intervals import Interval
from pelton.producers.ab.report import (
    METRICS,
    MISMATCH,
    ExperimentReport,
    Figure,
    Metric,
    VariantReport,
    amount,
    sentence,
)


def tables(report: ExperimentReport) -> RenderableType:
    """A row a metric, a column a variant; then what differs, in words. Names come from headers, and are escaped."""
    names, title = [_text(variant.name) for variant in report.variants], _text(f"Experiment {report.name}")
    table = folding_table("", figures=names, title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_row("models", *(_text(", ".join(variant.models)) for variant in report.variants))
    table.add_row("requests", *(f"{variant.requests:,}" for variant in report.variants))
    table.add_row("units", *(f"{variant.units:,}" for variant in report.variants))
    table.add_row("overflowed", *(f"{variant.overflowed:,}" for variant in report.variants))
    for metric in METRICS:
        table.add_row(metric.name, *(_cell(variant, metric) for variant in report.variants))
    return Group(table, *(_text(line) for line in _lines(report)))


def as_json(report: ExperimentReport) -> dict[str, Any]:
    """Rates are shares of 1, latencies milliseconds."""
    return {
        "experiment": report.name,
        "level": 0.95,
        "share_mismatch_p": report.mismatch,
        "variants": [_variant(variant) for variant in report.variants],
        "differences": [
            {
                "metric": each.metric,
                "variant": each.variant,
                "baseline": each.baseline,
                "difference": each.value,
                "interval": _bounds(each.interval),
                "seen": each.seen,
                "says": sentence(each),
            }
            for each in report.differences
        ],
    }


def _lines(report: ExperimentReport) -> list[str]:
    lines: list[str] = []
    for name in dict.fromkeys(each.variant for each in report.differences):
        mine = [each for each in report.differences if each.variant == name]
        lines += [f"{name} beside {mine[0].baseline}:", *(f"  {sentence(each)}" for each in mine)]
    for variant in report.variants:
        lines += [f"{variant.name}: {count:,} {code}" for code, count in variant.errors.items()]
        if variant.overflowed:
            lines.append(
                f"{variant.name}: {variant.overflowed:,} requests went to another model while it was behind. Its "
                "figures are of calmer times than those of the others."
            )
    if report.mismatch is not None and report.mismatch < MISMATCH:
        lines.append(
            f"The units are not dealt as the weights say (p = {report.mismatch:.2g}): were the weights changed, or are "
            "replies of one variant missing? Do not believe the differences before that is clear."
        )
    return lines


def _cell(variant: VariantReport, metric: Metric) -> str:
    figure = variant.figures.get(metric.name)
    if figure is None:
        return "-"
    value = amount(figure.value, metric.kind)
    if figure.interval is None:
        return value
    low, high = (amount(bound, metric.kind) for bound in (figure.interval.low, figure.interval.high))
    return f"{value} ({low} to {high})"


def _variant(variant: VariantReport) -> dict[str, Any]:
    return {
        "name": variant.name,
        "models": variant.models,
        "requests": variant.requests,
        "units": variant.units,
        "overflowed": variant.overflowed,
        "errors": variant.errors,
        "figures": {name: _figure(figure) for name, figure in variant.figures.items()},
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {"value": figure.value, "interval": None if figure.interval is None else _bounds(figure.interval)}


def _bounds(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def _text(text: str) -> Text:
    return Text(escaped(text, lines=True))
