"""A worker with one rule of exactly-once delivery broken: `python -m tests.chaos.mutant NAME`.

The rules are those that docs/design/exactly-once.md lists. Without a mutant that the checker catches, nobody knows
that it could.
"""

import asyncio
import sys
from collections.abc import Awaitable, Sequence
from typing import Any
from unittest.mock import patch

from aiokafka import AIOKafkaProducer, TopicPartition

from pelton.logs import configure_logging
from pelton.pipeline.offsets import Progress
from pelton.pipeline.settings.loading import load_settings
from pelton.pipeline.wire.records import OutgoingRecord
from pelton.workers.delivery import partition_publishers
from pelton.workers.delivery.transactions import NotAMember, TransactionalWriter
from pelton.workers.kafka.group import ConsumerGroup
from pelton.workers.process import serve
from tests.faulty import engine


class OneIdPerWorker(TransactionalWriter):
    """All partitions of a worker share one producer under the worker's own id: a former owner is not shut out."""

    _shared: AIOKafkaProducer | None = None
    _turn = asyncio.Lock()

    async def open(self, *, one_by_one: bool = False) -> Progress | None:
        del one_by_one  # they share what they have
        if not await self._group.is_member():
            raise NotAMember("not (yet) a member")
        async with self._turn:
            if OneIdPerWorker._shared is None:
                producer = AIOKafkaProducer(
                    **self._kafka.client_options(), **self._options(), transactional_id=_client_id(self._group)
                )
                async with asyncio.timeout(self._limit_s):
                    await producer.start()
                OneIdPerWorker._shared = producer
        return await self._group.progress(self._partition)

    async def publish(self, records: Sequence[OutgoingRecord], progress: Progress, current: Awaitable[bool]) -> None:
        async with self._turn:
            self._producer = OneIdPerWorker._shared
            try:
                await super().publish(records, progress, current)
            except BaseException:  # a partition lost in the middle of it leaves a transaction open, too
                OneIdPerWorker._shared = None
                await super().close()
                raise

    async def close(self) -> None:
        """The others still need it."""

    def _options(self) -> dict[str, Any]:
        return {name: value for name, value in super()._options().items() if name != "transactional_id"}


def _client_id(group: ConsumerGroup) -> str:
    return f"worker-{group._client_id}"


class PositionFirst(TransactionalWriter):
    """The producer starts with the first reply: the former owner may commit after the position was read."""

    async def open(self, *, one_by_one: bool = False) -> Progress | None:
        del one_by_one
        await self.close()
        return await self._group.progress(self._partition)

    async def publish(self, records: Sequence[OutgoingRecord], progress: Progress, current: Awaitable[bool]) -> None:
        if self._producer is None:
            await super().open()
        await super().publish(records, progress, current)


class UnawaitedSends(TransactionalWriter):
    """Offsets are committed without a look at what became of the sends."""

    async def _publish(
        self,
        producer: AIOKafkaProducer,
        records: Sequence[OutgoingRecord],
        commit: dict[TopicPartition, Any],
        current: Awaitable[bool],
    ) -> None:
        del current
        await producer.begin_transaction()
        for record in records:
            sent = await producer.send(
                record.topic, record.value, record.key, record.partition, headers=list(record.headers)
            )
            sent.add_done_callback(lambda done: done.cancelled() or done.exception())
        await producer.send_offsets_to_transaction(commit, self._kafka.group_id)
        await producer.commit_transaction()


MUTANTS = {
    "one-id-per-worker": OneIdPerWorker,
    "position-first": PositionFirst,
    "unawaited-sends": UnawaitedSends,
}


def main(name: str) -> None:
    """Serve as `pelton worker` does, but for the one rule."""
    configure_logging(verbose=False)
    engine.install()
    with patch.object(partition_publishers, "TransactionalWriter", MUTANTS[name]):
        asyncio.run(serve(load_settings()))


if __name__ == "__main__":
    main(sys.argv[1])
