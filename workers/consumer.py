"""The group member that requests are fetched with."""

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from pipeline.settings import KafkaSettings

REBALANCE_MS = 60_000
"""How long a rebalance waits for its slowest member."""


def request_consumer(kafka: KafkaSettings, client_id: str) -> AIOKafkaConsumer:
    """A group member that keeps its membership through long generations and a full line.

    The poll interval, which aiokafka counts on the client from the end of one `getmany` to the next, is an hour, and
    a rebalance gets time for a flush.
    """
    # A join is answered when the slowest member has joined; given up before, each retry is a new member.
    options = kafka.client_options() | {"request_timeout_ms": REBALANCE_MS + 10_000}
    return AIOKafkaConsumer(
        **options,
        client_id=client_id,
        group_id=kafka.group_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        partition_assignment_strategy=(_sticky_assignor(),),
        session_timeout_ms=kafka.session_timeout_ms,
        heartbeat_interval_ms=min(3_000, kafka.session_timeout_ms // 3),
        rebalance_timeout_ms=REBALANCE_MS,
        max_poll_interval_ms=3_600_000,
    )


def _sticky_assignor() -> type[StickyPartitionAssignor]:
    """A class of this worker's own: aiokafka's assignor remembers its assignment on the class."""

    class WorkersAssignor(StickyPartitionAssignor):
        pass

    return WorkersAssignor
