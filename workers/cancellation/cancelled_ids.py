"""Which requests were cancelled in the last minutes, in bounded memory whoever writes however many cancels.

Where there are too many, the tenant with the most loses its oldest: a flood from one costs the others nothing.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

from pelton.pipeline.wire.headers import MAX_CORRELATION_ID_BYTES

MAX_IDS = 10_000
MAX_BYTES = 4 * 1_048_576
MAX_TENANTS = 1_000
KEPT_S = 600.0
_ENTRY_BYTES = 250
"""What an id takes besides its own bytes."""


_SWEEP_S = 1.0

_Cancel = tuple[int, float]
"""When it was cancelled (Unix milliseconds), and until when that is kept (the clock's seconds)."""


class CancelledIds:
    """Lives on the event loop; `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tenants: OrderedDict[bytes, OrderedDict[bytes, _Cancel]] = OrderedDict()
        self._sizes: dict[bytes, int] = {}
        self._count = 0
        self._next_sweep = clock()
        self.size = 0
        """Bytes that they take, about."""

    def __len__(self) -> int:
        return self._count

    def add(self, tenant: bytes, wanted: bytes, cancelled_ms: int) -> None:
        """Raises `ValueError` for an id that is longer than any request's."""
        if len(wanted) > MAX_CORRELATION_ID_BYTES:
            raise ValueError(f"its id has {len(wanted):,} bytes, at most {MAX_CORRELATION_ID_BYTES:,} are taken")
        now = self._clock()
        self._sweep(now)
        if wanted in self._tenants.get(tenant, ()):
            self._drop(tenant, wanted)
        self._tenants.setdefault(tenant, OrderedDict())[wanted] = (cancelled_ms, now + KEPT_S)
        self._tenants.move_to_end(tenant)
        self._count_in(tenant, wanted, 1)
        while len(self._tenants) > MAX_TENANTS:
            self._drop_oldest(next(iter(self._tenants)))
        while self._count > MAX_IDS or self.size > MAX_BYTES:
            self._drop_oldest(max(self._sizes, key=self._sizes.__getitem__))

    def cancelled_ms(self, tenant: bytes, wanted: bytes) -> int | None:
        """When that request was cancelled; None where it was not."""
        cancel = self._tenants[tenant].get(wanted) if tenant in self._tenants else None
        return cancel[0] if cancel is not None and cancel[1] > self._clock() else None

    def _sweep(self, now: float) -> None:
        """Forget what was kept for long enough."""
        if now < self._next_sweep:
            return
        self._next_sweep = now + _SWEEP_S
        for tenant, cancels in list(self._tenants.items()):
            for wanted in [wanted for wanted, (_, until) in cancels.items() if until <= now]:
                self._drop(tenant, wanted)

    def _drop_oldest(self, tenant: bytes) -> None:
        self._drop(tenant, next(iter(self._tenants[tenant])))

    def _drop(self, tenant: bytes, wanted: bytes) -> None:
        del self._tenants[tenant][wanted]
        self._count_in(tenant, wanted, -1)
        if not self._tenants[tenant]:
            del self._tenants[tenant], self._sizes[tenant]

    def _count_in(self, tenant: bytes, wanted: bytes, sign: int) -> None:
        taken = sign * (_ENTRY_BYTES + len(wanted))
        self._sizes[tenant] = self._sizes.get(tenant, 0) + taken
        self.size += taken
        self._count += sign
