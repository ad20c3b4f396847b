"""The service's consumer group as the broker sees it: what is committed, and who is a member."""

from collections.abc import Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from pelton.pipeline.kafka.clients import start_client
from pelton.pipeline.settings.kafka import KafkaSettings

NONE_COMMITTED = -1


class PositionUnknown(KafkaError):
    """The broker did not say what is committed; it may a moment later."""


class ServiceGroup:
    """Asks through the admin client: a consumer's own `committed()` drops the metadata."""

    def __init__(self, kafka: KafkaSettings, group_id: str, client_id: str) -> None:
        """`client_id` is this service's alone: the broker's list of members has it."""
        self.group_id = group_id
        self._client_id = client_id
        self._admin = AIOKafkaAdminClient(**kafka.client_options())

    async def start(self) -> None:
        await start_client(self._admin)

    async def close(self) -> None:
        await self._admin.close()

    async def committed(self, *partitions: TopicPartition) -> Mapping[TopicPartition, OffsetAndMetadata]:
        """What is committed, with offset -1 where nothing is. Raises `KafkaError`.

        An answer without a partition is how aiokafka reports an error: it does not mean that nothing is committed.
        """
        answer: dict[TopicPartition, OffsetAndMetadata] = await self._admin.list_consumer_group_offsets(
            self.group_id, partitions=list(partitions)
        )
        if missing := [partition for partition in partitions if partition not in answer]:
            raise PositionUnknown(f"no answer for {missing[0]}")
        return answer

    async def is_member(self) -> bool:
        """Whether the broker counts this service into the group, also while it rebalances. Raises `KafkaError`."""
        answers: list[Any] = await self._admin.describe_consumer_groups([self.group_id])
        _, _, _, _, _, members, *_ = answers[0].groups[0]
        return any(client_id == self._client_id for _, client_id, *_ in members)
