"""The consumers of a worker: the group member that fetches requests, and those that follow a topic of their own."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.workers.kafka.consumer import SiftingConsumer

REBALANCE_MS = 60_000
"""How long a rebalance waits for its slowest member."""
EMPTY_FETCH_MS = 1_000
"""How long the broker holds a fetch that finds nothing. Each costs it, and the worker, a look at every partition: time
that an engine on the same cores is stopped for. New records end it at once; after a rebalance the next fetch waits
behind it."""


def request_consumer(kafka: KafkaSettings, client_id: str) -> AIOKafkaConsumer:
    """A group member that keeps its membership through long generations and a full line.

    The poll interval, which aiokafka counts on the client from the end of one `getmany` to the next, is an hour, and
    a rebalance gets time for a flush.
    """
    # A join is answered when the slowest member has joined; given up before, each retry is a new member.
    options = kafka.client_options() | {"request_timeout_ms": REBALANCE_MS + 10_000}
    return SiftingConsumer(
        client=options,
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
        fetch_max_wait_ms=EMPTY_FETCH_MS,
        consumer_timeout_ms=EMPTY_FETCH_MS,
    )


def feed_consumer(
    kafka: KafkaSettings, *topics: str, auto_offset_reset: Literal["earliest", "latest"]
) -> AIOKafkaConsumer:
    """In no group, of topics that seldom have anything new.

    A fetch is answered at once when they have, and else held by the broker for half the time a request may take:
    each one that comes back empty has taken the engine's cores for nothing. Other requests on the same connection
    wait behind it, so what is to be asked at the start has to be asked before anything is fetched.
    """
    wait_ms = kafka.request_timeout_ms // 2
    return SiftingConsumer(
        *topics,
        client=kafka.client_options(),
        enable_auto_commit=False,
        auto_offset_reset=auto_offset_reset,
        fetch_max_wait_ms=wait_ms,
        consumer_timeout_ms=wait_ms,
    )


def _sticky_assignor() -> type[StickyPartitionAssignor]:
    """A class of this worker's own: aiokafka's assignor remembers its assignment on the class.

    It gives members the same number of partitions, and may give one all of a topic and another all of another; where
    they read the same topics, each topic is spread over all.
    """

    class WorkersAssignor(StickyPartitionAssignor):
        @classmethod
        def assign(
            cls, cluster: Any, members: Mapping[str, ConsumerProtocolMemberMetadata]
        ) -> dict[str, ConsumerProtocolMemberAssignment]:
            given: dict[str, ConsumerProtocolMemberAssignment] = super().assign(cluster, members)
            if len({frozenset(member.subscription) for member in members.values()}) > 1:
                return given
            spread = spread_topics({member: dict(each.assignment) for member, each in given.items()})
            return {
                member: ConsumerProtocolMemberAssignment(cls.version, sorted(topics.items()), b"")
                for member, topics in spread.items()
            }

    return WorkersAssignor


Share = dict[str, list[int]]
"""Partitions by topic."""


def spread_topics(shares: Mapping[str, Share]) -> dict[str, Share]:
    """Exchange partitions between members until no two differ by more than one in any topic; nobody gets more or fewer.

    Where all have the same number of partitions, give or take one, whoever has two more of a topic has fewer of another
    to get in exchange. Each exchange makes the shares more even, so it ends; what is even is left as it is.
    """
    held = {member: defaultdict(list, {topic: sorted(each) for topic, each in share.items()})
            for member, share in shares.items()}  # fmt: skip
    topics = sorted({topic for share in held.values() for topic in share})
    while found := next(_exchanges(held, topics), None):
        rich, poor, topic, other = found
        held[poor][topic].append(held[rich][topic].pop())
        held[rich][other].append(held[poor][other].pop())
    return {member: {topic: sorted(each) for topic, each in share.items() if each} for member, share in held.items()}


def _exchanges(held: Mapping[str, Share], topics: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    """Who is to give whom a partition of what topic, and get one of what other."""
    for topic in topics:
        by_count = sorted(held, key=lambda member: (len(held[member][topic]), member))
        rich, poor = by_count[-1], by_count[0]
        if len(held[rich][topic]) < len(held[poor][topic]) + 2:
            continue
        for other in topics:
            if len(held[poor][other]) > len(held[rich][other]):
                yield rich, poor, topic, other
