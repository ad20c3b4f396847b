"""The service's consumer group as the broker sees it: what is committed, and who is a member."""

from collections.abc import Mapping

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

from pelton.pipeline.kafka.clients import close_client, start_client
from pelton.pipeline.kafka.group_answers import committed_offsets, group_members
from pelton.pipeline.settings.kafka import KafkaSettings

NONE_COMMITTED = -1


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
        await close_client(self._admin)

    async def committed(self, *partitions: TopicPartition) -> Mapping[TopicPartition, OffsetAndMetadata]:
        """What is committed, with offset -1 where nothing is. Raises `KafkaError`, or `NotAnswered`."""
        return await committed_offsets(self._admin, self.group_id, partitions)

    async def is_member(self) -> bool:
        """Whether the broker counts this service into the group, also while it rebalances. Raises as `committed`."""
        return any(client_id == self._client_id for _, client_id in await group_members(self._admin, self.group_id))
