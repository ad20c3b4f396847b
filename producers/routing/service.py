"""The router as a member of the group that reads the request topics: a share of partitions, and a router for each."""

import asyncio
import secrets
import socket
from collections.abc import Callable
from itertools import chain

from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from prometheus_client import start_http_server

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.routing.router import RoutingSettings, pool_topics
from pelton.producers.errors import RoutingUnusable
from pelton.producers.kafka.cluster import look_up, reaching
from pelton.producers.kafka.new_topics import make_missing
from pelton.producers.kafka.partition_shares import PartitionShares, share
from pelton.producers.kafka.service_group import ServiceGroup
from pelton.producers.routing.metrics import RouterMetrics
from pelton.producers.routing.partition import PartitionRouter
from pelton.producers.routing.pool_watch import PoolWatch
from pelton.producers.routing.router import Router


async def route_requests(
    kafka: KafkaSettings,
    routing: RoutingSettings,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Join `kafka.group_id` and send the requests of `kafka.request_topics` on to the pools until it is cancelled.

    `on_ready` is called with each assignment of partitions. Any number of routers share them. Raises `RoutingUnusable`,
    `BrokerUnreachable` or `TopicMissing` at the start, and later the error of a part that failed by a fault of ours.
    """
    _check(kafka, routing)
    pools = tuple(chain.from_iterable(map(pool_topics, routing.pools.values())))
    names = [*kafka.request_topics, *pools, routing.shadow_topic]
    if kafka.create_topics:
        await make_missing(kafka, [NewTopic(topic, kafka.partitions, **kafka.copies) for topic in names])
    topics = (await look_up(kafka, *names)).topics
    metrics = RouterMetrics(routing)
    watch = PoolWatch(kafka, routing, topics, metrics)
    router = Router(kafka, routing, watch.is_behind)
    client_id = f"router-{socket.gethostname()}-{secrets.token_hex(4)}"
    group = ServiceGroup(kafka, kafka.group_id, client_id)

    def processor(place: TopicPartition) -> PartitionRouter:
        return PartitionRouter(kafka, group, place, router, topics=topics, metrics=metrics)

    _serve_metrics(routing, metrics)
    shares = PartitionShares(processor, on_ready)
    watching = asyncio.create_task(watch.run())
    watching.add_done_callback(shares.notice)
    try:
        with reaching(kafka):
            await group.start()
        await share(kafka, kafka.request_topics, shares, group_id=kafka.group_id, client_id=client_id)
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        await group.close()


def _check(kafka: KafkaSettings, routing: RoutingSettings) -> None:
    """Raises `RoutingUnusable` for settings that do not go together."""
    if not routing.pools:
        raise RoutingUnusable("routing.pools is empty: name the pools of workers that requests are sent on to.")
    if kafka.delivery != "exactly_once":
        raise RoutingUnusable('The router needs transactions: kafka.delivery must be "exactly_once".')
    if kafka.tenant_topics:
        raise RoutingUnusable(
            "kafka.tenant_topics cannot be kept by a router: what it sends on lies in the pools' topics, where nothing "
            "binds a tenant to a topic. Bind tenants by kafka.tenant_keys."
        )
    for name, pool in routing.pools.items():
        if both := sorted(set(pool_topics(pool)) & set(kafka.request_topics)):
            raise RoutingUnusable(
                f"routing.pools.{name} reads {both[0]}, which is one of kafka.request_topics: the router would send "
                "requests to itself."
            )
        if pool.group_id == kafka.group_id:
            raise RoutingUnusable(
                f"routing.pools.{name}.group_id is {pool.group_id!r}, the router's own (kafka.group_id): give the "
                "pool's workers another."
            )


def _serve_metrics(routing: RoutingSettings, metrics: RouterMetrics) -> None:
    if routing.metrics_port is None:
        return
    try:
        start_http_server(routing.metrics_port, routing.metrics_host, metrics.registry)
    except OSError as error:
        raise RoutingUnusable(
            f"routing.metrics_port: port {routing.metrics_port} of {routing.metrics_host} cannot be listened on: "
            f"{error.strerror}."
        ) from None
