"""The coordinator of a consumer group, which a new broker does not have yet.

It makes the topic for the positions of groups when it is first asked for a coordinator, which takes it a second or
more. A consumer that joins meanwhile logs errors, and its process says that it is ready while it waits.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pelton.pipeline.backoff import Backoff
from pelton.pipeline.kafka.group_answers import NotAnswered

LIMIT_S = 20.0
RETRY_FIRST_S, RETRY_MAX_S = 0.1, 1.0
PASSING = ("GroupCoordinatorNotAvailableError", "GroupLoadInProgressError", "NotCoordinatorForGroupError")
"""What a broker answers until it has one, by the client's names, as this package knows no client."""

T = TypeVar("T")


async def ask_coordinator(ask: Callable[[], Awaitable[T]], limit_s: float = LIMIT_S) -> T:
    """What `ask` returns, asked again until there is a coordinator. Raises what it raises, also after `limit_s`."""
    backoff, until = Backoff(RETRY_FIRST_S, RETRY_MAX_S), time.monotonic() + limit_s
    while True:
        try:
            return await ask()
        except Exception as error:
            passes = isinstance(error, NotAnswered) or type(error).__name__ in PASSING
            if not passes or time.monotonic() > until:
                raise
        await asyncio.sleep(backoff.next_s())
