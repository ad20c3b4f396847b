"""A FastStream handler that answers each record with its own body, and acknowledges it after the reply.

As its documentation builds one: `@broker.subscriber` over `@broker.publisher`. Dependency injection and validation are
off and nothing is logged, so that what is measured is FastStream's own way of a message.
"""

import asyncio
import sys
from typing import Any

from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker


async def serve(bootstrap: str, requests: str, replies: str, max_workers: int) -> None:
    """Answer until ended by a signal."""
    broker = KafkaBroker(bootstrap, apply_types=False, logger=None)

    @broker.publisher(replies)  # type: ignore[untyped-decorator, unused-ignore]  # not installed where types are checked
    @broker.subscriber(  # type: ignore[untyped-decorator, unused-ignore]  # likewise
        requests,
        group_id=f"{requests}-faststream",
        ack_policy=AckPolicy.ACK,
        max_workers=max_workers,
        auto_offset_reset="earliest",
    )
    async def echo(body: Any) -> Any:
        return body

    await FastStream(broker, logger=None).run()


if __name__ == "__main__":
    bootstrap, requests, replies, max_workers = sys.argv[1:]
    asyncio.run(serve(bootstrap, requests, replies, int(max_workers)))
