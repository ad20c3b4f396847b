"""An experiment on a real Kafka: routers, two pools of one simulated worker each, and the report of what came of it."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.routing.router import RoutingSettings
from pelton.producers.ab.reading import Span, read_observations
from pelton.producers.ab.report import report
from pelton.producers.client import InferenceClient, RequestItem
from pelton.producers.replies import Reply
from pelton.producers.routing.assignment import assigned, is_shadowed
from pelton.producers.routing.service import route_requests

USERS, EACH = 40, 10
SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Experiment:
    """The topics that clients know, and who answers there."""

    kafka: KafkaSettings
    routing: RoutingSettings
    workers: tuple[Any, Any]

    @asynccontextmanager
    async def router(self) -> AsyncIterator[asyncio.Task[None]]:
        """A router with its partitions; the task may be cancelled half-way, as a crash would end it."""
        ready = asyncio.Event()
        running = asyncio.create_task(route_requests(self.kafka, self.routing, ready.set))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        try:
            yield running
        finally:
            running.cancel()
            await asyncio.wait([running])
            if not running.cancelled():
                running.result()


@pytest.fixture
async def experiment(place: Callable[..., Any]) -> AsyncIterator[Experiment]:
    front = await place(partitions=2)
    shadow = f"shadow-{front.requests}"
    pools, workers = {}, []
    for model in ("large", "small"):
        allowed = (front.replies, shadow)
        one = await place(partitions=3, kafka={"reply_topics_allowed": allowed}, model={"served_name": model})
        pools[model] = {"topic": one.requests, "group_id": one.settings.kafka.group_id}
        workers.append(one)
    variants = {"now": {"model": "large", "weight": 3}, "new": {"model": "small", "weight": 1}}
    dealt = {"variants": variants, "shadow": {"model": "small", "share": SHARE}}
    routing = RoutingSettings(pools=pools, experiments={"reports": dealt}, shadow_topic=shadow)
    known = [replace(one, settings=one.settings.model_copy(update={"routing": routing})) for one in workers]
    admin = AIOKafkaAdminClient(bootstrap_servers=front.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(shadow, 1, 1)])
    yield Experiment(front.settings.kafka, routing, (known[0], known[1]))
    await admin.delete_topics([shadow])
    await admin.close()


def requests() -> list[RequestItem]:
    """Every user asks the same thing twice, which the cache answers the second time, and one thing that is refused."""
    items = []
    for number in range(USERS * EACH):
        user, turn = number % USERS, number // USERS
        body: dict[str, Any] = {
            "model": "reports",
            "user": f"user-{user}",
            "messages": [{"role": "user", "content": f"question {user} {turn // 2}"}],
            "temperature": 9 if turn == EACH - 1 else 0,
        }
        items.append(RequestItem(body, correlation_id=f"{user}/{turn}".encode()))
    return items


async def ask(client: InferenceClient, items: list[RequestItem]) -> list[Reply]:
    return [reply async for reply in client.submit_many(items, timeout_s=60)]


async def test_shares_stickiness_one_reply_each_and_a_true_report(experiment: Experiment, client: Any) -> None:
    """400 requests of 40 users, one router killed between them: every request has one reply, by its user's variant, and
    the report counts what the caller has seen.
    """
    items, kafka = requests(), experiment.kafka
    first, second = items[: 5 * USERS], items[5 * USERS :]
    large, small = experiment.workers
    async with large.worker(), small.worker(), InferenceClient(kafka) as asking:
        async with experiment.router() as router:
            replies = await ask(asking, first)
            sending = asyncio.create_task(ask(asking, second))
            router.cancel()
            await asyncio.wait([router])
        async with experiment.router():
            replies += await sending
        copied = [user for user in range(USERS) if is_shadowed("reports", "", SHARE, f"user-{user}")]
        copies = await client.read(experiment.routing.shadow_topic, len(copied) * EACH)
    _check_replies(replies)
    everything = await client.read_all(kafka.reply_topic)
    assert Counter(dict(record.headers)["kafka_correlationId"] for record in everything) == Counter(
        item.correlation_id for item in items
    )
    assert len(copies) == len(copied) * EACH
    await _check_report(experiment, replies, len(copies))
    _check_metrics(experiment, replies)


def _check_replies(replies: list[Reply]) -> None:
    variants: defaultdict[str, set[str]] = defaultdict(set)
    for reply in replies:
        user = f"user-{reply.correlation_id.decode().split('/')[0]}"
        variants[user].add(reply.headers["pelton-variant"].decode())
        expected = {"reports/now": b"large", "reports/new": b"small"}[reply.headers["pelton-variant"].decode()]
        assert reply.headers["pelton-model"] == expected
    weights = {"now": 3.0, "new": 1.0}
    assert variants == {user: {f"reports/{assigned('reports', '', weights, user)}"} for user in variants}
    assert len(variants) == USERS
    assert 2 <= sum(names == {"reports/new"} for names in variants.values()) <= 20


async def _check_report(experiment: Experiment, replies: list[Reply], copies: int) -> None:
    topics = [experiment.kafka.reply_topic, experiment.routing.shadow_topic]
    found = await read_observations(experiment.kafka, topics, Span())
    told = report("reports", found, experiment.routing.experiments["reports"].weights)
    assert [variant.name for variant in told.variants] == ["now", "new", "small (shadow)"]
    for variant in told.variants[:2]:
        mine = [reply for reply in replies if reply.headers["pelton-variant"] == f"reports/{variant.name}".encode()]
        answers = [reply.completion() for reply in mine if reply.error is None]
        assert (variant.requests, variant.units) == (len(mine), len(mine) // EACH)
        assert variant.errors == {"invalid_value": len(mine) - len(answers)}
        assert variant.figures["errors"].value == pytest.approx(1 / EACH)
        hits = sum(reply.headers.get("pelton-cache") in (b"hit-local", b"joined") for reply in mine)
        assert variant.figures["from cache"].value == pytest.approx(hits / len(answers))
        tokens = [answer.usage.completion_tokens for answer in answers]
        assert variant.figures["new tokens"].value == pytest.approx(sum(tokens) / len(tokens))
    assert told.variants[2].requests == copies
    assert len(await read_observations(experiment.kafka, topics, Span(last=50))) == 50


def _check_metrics(experiment: Experiment, replies: list[Reply]) -> None:
    for worker, variant in zip(experiment.workers, ("now", "new"), strict=True):
        mine = sum(reply.headers["pelton-variant"] == f"reports/{variant}".encode() for reply in replies)
        labels = {"experiment": "reports", "variant": variant, "route": "weight"}
        counted = [
            worker.metrics.registry.get_sample_value(
                "pelton_variant_requests_finished_total", labels | {"outcome": outcome}
            )
            for outcome in ("ok", "error")
        ]
        assert counted == [mine - mine // EACH, mine // EACH]
