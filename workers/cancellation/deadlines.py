"""When a request is too late, and the error that says so."""

import time
from datetime import UTC, datetime

from pelton.pipeline.errors import DeadlineExceeded
from pelton.pipeline.wire import contract
from pelton.workers.requests import Delivery

FIRST_PLAUSIBLE_MS = 1_000_000_000_000
"""In 2001. Seconds of our time are far below it, and milliseconds above."""


def is_too_late(delivery: Delivery) -> bool:
    deadline_ms = delivery.envelope.deadline_ms
    return deadline_ms is not None and deadline_ms <= time.time() * 1000


def too_late(where: str, deadline_ms: int | None = None) -> DeadlineExceeded:
    """`deadline_ms` is looked at for a hint: no sender means a time before there was Kafka."""
    hint = ""
    if deadline_ms is not None and deadline_ms < FIRST_PLAUSIBLE_MS:
        hint = (
            f" It is read as Unix milliseconds, and {deadline_ms} of them end in {_year(deadline_ms)}: if these are "
            "seconds, send them times 1,000."
        )
    return DeadlineExceeded(f"The request's {contract.DEADLINE} passed {where}.{hint}", param=contract.DEADLINE)


def _year(unix_ms: int) -> int:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).year
