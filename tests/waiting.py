"""Waiting for what no event tells of: what another process does, or a worker inside."""

import asyncio
from collections.abc import Callable


async def until(holds: Callable[[], object], limit_s: float = 60.0) -> None:
    """Wait until it holds; raises TimeoutError when it does not within `limit_s`."""
    async with asyncio.timeout(limit_s):
        while not holds():  # noqa: ASYNC110  # as said
            await asyncio.sleep(0.01)
