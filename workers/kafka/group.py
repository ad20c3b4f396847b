"""The consumer group as the broker sees it: what is committed, and who is a member."""

from functools import partial

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from pelton.pipeline.kafka.clients import close_client, start_client
from pelton.pipeline.kafka.coordinator import ask_coordinator
from pelton.pipeline.kafka.group_answers import committed_offsets, group_members
from pelton.pipeline.offsets import Progress
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.workers.kafka.topics import ensure_topics

NONE_COMMITTED = -1


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
        await close_client(admin)


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
        await close_client(self._admin)

    async def progress(self, partition: TopicPartition) -> Progress | None:
        """What is committed, None where nothing was.

        Raises `KafkaError`, `NotAnswered`, or `BadMetadata` for a commit not ours.
        """
        committed = (await committed_offsets(self._admin, self._group_id, [partition]))[partition]
        if committed.offset == NONE_COMMITTED:
            return None
        return Progress.decode(committed.offset, committed.metadata)

    async def is_member(self) -> bool:
        """Whether the broker counts this worker into the group. Raises `KafkaError`, or `NotAnswered`.

        Also while the group rebalances: until that is over nobody else is given what its members have.
        """
        return any(client_id == self._client_id for _, client_id in await group_members(self._admin, self._group_id))

    async def count_members(self) -> int:
        """How many workers the group has. Raises `KafkaError`, or `NotAnswered`."""
        return len(await group_members(self._admin, self._group_id))
