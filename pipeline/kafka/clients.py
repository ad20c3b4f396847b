"""Kafka clients start whole and close whole, so that no connection stays open that nobody holds.

aiokafka forgets the connection that it was opening when a start is cancelled half-way. `stop` leaves connections open
where it fails, as that of a fenced producer does, or is cancelled; the second `stop` does nothing. And it takes a
cancellation of whoever stops it for that of its own tasks, and forgets it: a task that was to end would go on.
"""

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any

STOP_S = 5.0
"""How long a client may take to send what waits, or to leave its group."""
LIMIT_S = 2.0
"""For what has to be waited for after a client was given up."""


async def start_client(client: Any) -> None:
    """`client.start()` of a producer, a consumer or an admin client. The caller stops it, also where this raises."""
    starting = asyncio.ensure_future(client.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait([starting], timeout=LIMIT_S)
        if not starting.cancel() and not starting.cancelled():
            starting.exception()  # retrieved, as nobody else will
        raise


async def stop_producer(producer: Any, limit_s: float = STOP_S) -> Exception | None:
    """Send what waits, for `limit_s` at most, and close. Gives what went wrong, which may have kept records unsent."""
    try:
        return await _apart(producer.stop(), limit_s)
    finally:
        await _abandon(producer)


async def stop_consumer(consumer: Any, limit_s: float = STOP_S) -> Exception | None:
    """Leave the group, if it is in one, within `limit_s`, and close. Gives what went wrong."""
    try:
        return await _apart(consumer.stop(), limit_s)
    finally:
        await close_client(consumer._client)  # noqa: SLF001


async def close_client(client: Any) -> None:
    """Close an admin client, or a bare one: neither has anything to send. Does not raise."""
    await _apart(client.close(), LIMIT_S)


async def _apart(stopping: Awaitable[object], limit_s: float) -> Exception | None:
    """Await it in a task of its own, for `limit_s` at most; gives what went wrong."""
    task = asyncio.ensure_future(_outcome(stopping))
    try:
        await asyncio.wait([task], timeout=limit_s)
        return task.result() if task.done() else TimeoutError(f"it did not stop within {limit_s:g} s")
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=LIMIT_S)


async def _outcome(stopping: Awaitable[object]) -> Exception | None:
    try:
        await stopping
    except Exception as error:  # noqa: BLE001  # whatever it is, the connections have to be closed
        return error
    except asyncio.CancelledError:
        return ConnectionError("a task of the client was cancelled")  # which aiokafka awaits when it stops
    return None


# aiokafka has no public way to give records up, and none to wait for a connection that is being opened.
async def _abandon(producer: Any) -> None:
    await _apart(producer._sender.close(), LIMIT_S)  # noqa: SLF001
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LIMIT_S), producer.client._get_conn_lock:  # noqa: SLF001
            pass
    await close_client(producer.client)
