"""When a request is too late, and the error that says so."""

import time

from pelton.pipeline.errors import DeadlineExceeded
from pelton.pipeline.wire import contract
from pelton.workers.requests import Delivery


def is_too_late(ticket: Delivery) -> bool:
    deadline_ms = ticket.envelope.deadline_ms
    return deadline_ms is not None and deadline_ms <= time.time() * 1000


def too_late(where: str) -> DeadlineExceeded:
    return DeadlineExceeded(f"The request's {contract.DEADLINE} passed {where}.", param=contract.DEADLINE)
