"""A histogram that takes many values at once: what is known only when a batch is done need not come one by one."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from prometheus_client import Histogram


class BatchHistogram(Histogram):
    """As any histogram of the library's, whose `observe` takes two locks and a walk through all buckets a value."""

    def observe_all(self, amounts: Sequence[float]) -> None:
        """Observe each; none may be NaN."""
        if not amounts:
            return
        self._sum.inc(sum(amounts))
        for bucket, count in Counter(bisect_left(self._upper_bounds, amount) for amount in amounts).items():
            self._buckets[bucket].inc(count)
