"""The metrics a dashboard relies on."""

import re

from prometheus_client import generate_latest

from pelton.pipeline.metrics import Metrics


def test_every_metric_has_the_prefix_and_a_meaning() -> None:
    """All metrics can be found by `pelton_` and say what they count, seconds in seconds."""
    families = [each for each in Metrics().registry.collect() if not each.name.startswith("process_")]
    assert len(families) >= 12
    for family in families:
        assert re.fullmatch("pelton_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert not family.name.endswith(("_ms", "_millis"))


def test_two_workers_in_one_process_count_apart() -> None:
    """Tests and the demo run several workers in one process: their numbers do not mix, and none is registered twice."""
    one, other = Metrics(), Metrics()
    one.fetched.inc(3)
    assert one.registry.get_sample_value("pelton_requests_fetched_total") == 3
    assert other.registry.get_sample_value("pelton_requests_fetched_total") == 0


def test_labelled_metrics_take_their_labels_in_order() -> None:
    """Outcomes are counted by code, stages timed by stage, and the exposition shows both."""
    metrics = Metrics()
    metrics.finished.labels("ok").inc()
    metrics.stage_seconds.labels("prefill").observe(0.02)
    text = generate_latest(metrics.registry).decode()
    assert 'pelton_requests_finished_total{code="ok"} 1.0' in text
    assert 'pelton_stage_seconds_bucket{le="0.03",stage="prefill"} 1.0' in text
