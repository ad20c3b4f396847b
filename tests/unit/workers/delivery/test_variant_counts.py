"""Replies by variant: labels come from the settings, whatever senders write."""

from pelton.pipeline.metrics import Metrics
from pelton.pipeline.settings.routing.experiments import Experiment
from pelton.pipeline.wire.contract import Route
from pelton.pipeline.wire.routed import Routed
from pelton.workers.delivery.reply_counts import VariantCounts

DEALT = Experiment.model_validate(
    {
        "variants": {"now": {"model": "large", "weight": 1}},
        "shadow": {"model": "next", "share": 0.5},
        "overflow": {"variant": "now", "model": "small", "above_s": 2, "below_s": 1},
    }
)


def series(metrics: Metrics) -> dict[tuple[str, ...], float]:
    (family,) = metrics.variant_finished.collect()
    names = ("experiment", "variant", "route", "outcome")
    return {tuple(one.labels[name] for name in names): one.value for one in family.samples if "total" in one.name}


def test_every_series_is_there_from_the_start_and_no_other_comes() -> None:
    """A thousand made-up experiments count as one."""
    metrics = Metrics()
    counts = VariantCounts(metrics, {"reports": DEALT})
    before = series(metrics)
    assert ("reports", "now", "overflow", "error") in before
    assert ("reports", "next", "shadow", "ok") in before
    for number in range(1_000):
        counts.note(Routed(f"made-up-{number}", "now", Route.WEIGHT), failed=False)
    counts.note(Routed("reports", "now", Route.WEIGHT), failed=True)
    after = series(metrics)
    assert after.keys() == before.keys()
    assert after["other", "other", "weight", "ok"] == 1_000
    assert after["reports", "now", "weight", "error"] == 1
