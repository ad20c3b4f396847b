"""What metrics show of endpoints, before and after something has happened to them."""

import time

from pelton.pipeline.metrics import Metrics
from pelton.workers.remote.concurrency import FIRST, AdaptiveLimit
from pelton.workers.remote.endpoint import Endpoint
from pelton.workers.remote.endpoint_metrics import EndpointMetrics
from pelton.workers.remote.verdict import Fate


def test_every_series_is_there_from_the_start_and_follows():
    """For each endpoint and fate at 0; then the limit, a pause, an absence, and each call counted once."""
    metrics = Metrics()
    quiet, busy = (Endpoint(f"http://{name}/v1", AdaptiveLimit(1, 64), 1) for name in ("quiet", "busy"))
    shown = EndpointMetrics(metrics, [quiet, busy])

    def value(name, endpoint, **labels):
        return metrics.registry.get_sample_value(f"pelton_endpoint_{name}", {"endpoint": endpoint.url, **labels})

    for endpoint in (quiet, busy):
        assert value("limit", endpoint) == FIRST
        assert [value(name, endpoint) for name in ("running", "down", "paused")] == [0, 0, 0]
        assert [value("calls_total", endpoint, fate=fate.name.lower()) for fate in Fate] == [0] * len(Fate)
    busy.busy(time.monotonic(), time.monotonic(), 60.0)
    busy.fates[Fate.BUSY] += 1
    busy.running = 3
    quiet.unreachable()
    for _ in range(2):
        shown.show()
    assert value("limit", busy) < FIRST
    assert [value(name, busy) for name in ("running", "down", "paused")] == [3, 0, 1]
    assert value("calls_total", busy, fate="busy") == 1
    assert [value(name, quiet) for name in ("running", "down", "paused")] == [0, 1, 0]
