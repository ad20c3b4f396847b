"""The pipeline benchmark's peer: a bare aiokafka consumer that answers each record with its own value.

The same broker, client library, idempotent producer and commit interval as the worker's, no work in between: what is
left of the worker's rate beside this one is what Pelton's checks, queues and threads cost.
"""

import asyncio
import os
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

COMMIT_INTERVAL_S = 0.05
MAX_RECORDS = 256


async def echo(bootstrap: str, requests: str, replies: str) -> None:
    """Answer until ended by a signal."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    consumer = AIOKafkaConsumer(
        requests,
        bootstrap_servers=bootstrap,
        group_id=f"echo-{os.getpid()}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    async with producer, consumer:
        loop = asyncio.get_running_loop()
        committed_at = loop.time()
        while True:
            fetched = await consumer.getmany(timeout_ms=250, max_records=MAX_RECORDS)
            records = [record for batch in fetched.values() for record in batch]
            sent = [await producer.send(replies, record.value, headers=list(record.headers)) for record in records]
            await asyncio.gather(*sent)
            if loop.time() - committed_at >= COMMIT_INTERVAL_S:
                await consumer.commit()
                committed_at = loop.time()


if __name__ == "__main__":
    asyncio.run(echo(*sys.argv[1:]))
