"""The consumer group as the broker sees it: what is committed, and who is a member."""

from functools import partial
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pelton.pipeline.kafka.clients import start_client
from pelton.pipeline.kafka.coordinator import ask_coordinator
from pelton.pipeline.offsets import Progress
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.workers.kafka.topics import ensure_topics

NONE_COMMITTED = -1


class PositionUnknown(KafkaError):
    """The broker did not return the committed position; it may a moment later."""


async def prepare_broker(kafka: KafkaSettings) -> None:
    """See that a worker can begin: the topics are there, and the group has a coordinator.

    Raises `TopicsMissing`, and `KafkaError` where the broker is away or does not let the group in.
    """
    await ensure_topics(kafka)
    admin = AIOKafkaAdminClient(**kafka.client_options())
    try:
        await start_client(admin)
        await ask_coordinator(partial(admin.find_coordinator, kafka.group_id))
    finally:
        await admin.close()


class ConsumerGroup:
    """Asks through the admin client: a consumer's own `committed()` drops the metadata."""

    def __init__(self, kafka: KafkaSettings, client_id: str) -> None:
        """`client_id` is this worker's alone: it identifies us in the broker's list of members."""
        self._group_id = kafka.group_id
        self._client_id = client_id
        self._admin = AIOKafkaAdminClient(**kafka.client_options())

    async def start(self) -> None:
        await start_client(self._admin)

    async def close(self) -> None:
        await self._admin.close()

    async def progress(self, partition: TopicPartition) -> Progress | None:
        """What is committed, None where nothing was. Raises `KafkaError`, or `BadMetadata` for a commit not ours.

        An answer without the partition is how aiokafka reports an error: it must not be taken for "nothing committed".
        """
        answer = await self._admin.list_consumer_group_offsets(self._group_id, partitions=[partition])
        if partition not in answer:
            raise PositionUnknown(f"no answer for {partition}")
        committed = answer[partition]
        if committed.offset == NONE_COMMITTED:
            return None
        return Progress.decode(committed.offset, committed.metadata)

    async def is_member(self) -> bool:
        """Whether the broker counts this worker into the group. Raises `KafkaError`.

        Also while the group rebalances: until that is over nobody else is given what its members have.
        """
        return self._client_id in await self._members()

    async def count_members(self) -> int:
        """How many workers the group has. Raises `KafkaError`."""
        return len(await self._members())

    async def _members(self) -> list[str]:
        """The client ids of all."""
        answers: list[Any] = await self._admin.describe_consumer_groups([self._group_id])
        _, _, _, _, _, members, *_ = answers[0].groups[0]
        return [client_id for _, client_id, *_ in members]
