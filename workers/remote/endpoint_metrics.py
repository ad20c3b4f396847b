"""What metrics show of each endpoint."""

import time
from collections.abc import Sequence

from pelton.pipeline.metrics import Metrics
from pelton.workers.remote.endpoint import Endpoint
from pelton.workers.remote.verdict import Fate


class EndpointMetrics:
    """Reads endpoints whose loop is another thread's: each figure is right, two of them may be a moment apart."""

    def __init__(self, metrics: Metrics, endpoints: Sequence[Endpoint]) -> None:
        """All series exist from now on."""
        self._metrics = metrics
        self._endpoints = endpoints
        self._counted = {(endpoint, fate): 0 for endpoint in endpoints for fate in Fate}
        for endpoint, fate in self._counted:
            metrics.endpoint_calls.labels(endpoint.url, fate.name.lower())
        self.show()

    def show(self) -> None:
        now = time.monotonic()
        for endpoint in self._endpoints:
            self._metrics.endpoint_limit.labels(endpoint.url).set(endpoint.limit.value)
            self._metrics.endpoint_running.labels(endpoint.url).set(endpoint.running)
            self._metrics.endpoint_down.labels(endpoint.url).set(endpoint.down)
            self._metrics.endpoint_paused.labels(endpoint.url).set(endpoint.paused_until > now)
        for (endpoint, fate), before in self._counted.items():
            count = endpoint.fates[fate]
            self._metrics.endpoint_calls.labels(endpoint.url, fate.name.lower()).inc(count - before)
            self._counted[endpoint, fate] = count
