"""Kafka clients start whole and close whole, so that no connection stays open that nobody holds.

aiokafka forgets the connection that it was opening when a start is cancelled half-way. `stop` leaves connections open
where it fails, as that of a fenced producer does, or is cancelled; the second `stop` does nothing.
"""

import asyncio
import contextlib
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
        return await _stop(producer, limit_s)
    finally:
        await _abandon(producer)


async def stop_consumer(consumer: Any, limit_s: float = STOP_S) -> Exception | None:
    """Leave the group, if it is in one, within `limit_s`, and close. Gives what went wrong."""
    try:
        return await _stop(consumer, limit_s)
    finally:
        await consumer._client.close()  # noqa: SLF001


async def _stop(client: Any, limit_s: float) -> Exception | None:
    try:
        async with asyncio.timeout(limit_s):
            await client.stop()
    except Exception as error:  # noqa: BLE001  # whatever it is, the connections have to be closed
        return error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return ConnectionError("a task of the client was cancelled")  # which aiokafka awaits when it stops
    return None


# aiokafka has no public way to give records up, and none to wait for a connection that is being opened.
async def _abandon(producer: Any) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(LIMIT_S):
            await producer._sender.close()  # noqa: SLF001
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LIMIT_S), producer.client._get_conn_lock:  # noqa: SLF001
            pass
    await producer.client.close()
