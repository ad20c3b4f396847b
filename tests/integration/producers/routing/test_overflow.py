"""A pool that falls behind hands requests over, on a real Kafka."""

import asyncio
from collections.abc import Callable
from typing import Any

from pelton.pipeline.settings.routing.router import RoutingSettings
from pelton.producers.client import InferenceClient
from pelton.producers.errors import ReplyTimeout
from pelton.producers.replies import Reply
from pelton.producers.routing.service import route_requests

WAIT_S = 60


async def test_another_model_answers_while_one_is_behind(place: Callable[..., Any]) -> None:
    """The large pool has no worker: what came first waits there, what comes then is answered by the small one, and the
    reply says why. When a worker has caught up, the large pool answers again.
    """
    front = await place(partitions=1)
    pools, workers = {}, {}
    for model in ("large", "small"):
        allowed = {"reply_topics_allowed": (front.replies,)}
        workers[model] = one = await place(partitions=1, kafka=allowed, model={"served_name": model})
        pools[model] = {"topic": one.requests, "group_id": one.settings.kafka.group_id}
    dealt = {
        "variants": {"now": {"model": "large", "weight": 1}},
        "overflow": {"variant": "now", "model": "small", "above_s": 30, "below_s": 10},
    }
    routing = RoutingSettings(
        pools=pools, experiments={"reports": dealt}, shadow_topic=front.replies, look_interval_s=0.2
    )
    body = {"model": "reports", "messages": [{"role": "user", "content": "hello"}]}
    async with asyncio.timeout(WAIT_S), workers["small"].worker(), InferenceClient(front.settings.kafka) as asking:
        router = asyncio.create_task(route_requests(front.settings.kafka, routing))
        early = [asyncio.create_task(asking.request(body, timeout_s=WAIT_S)) for _ in range(20)]
        answered = await _until(asking, body, b"overflow")
        assert (answered.headers["pelton-variant"], answered.headers["pelton-model"]) == (b"reports/now", b"small")
        async with workers["large"].worker():
            late = await asyncio.gather(*early)
            assert {reply.headers["pelton-model"] for reply in late} == {b"large"}
            answered = await _until(asking, body, b"weight")
            assert answered.headers["pelton-model"] == b"large"
        router.cancel()
        await asyncio.wait([router])


async def _until(asking: InferenceClient, body: dict[str, Any], route: bytes) -> Reply:
    """Ask until an answer comes that way; one that waits for a worker that is not there is left behind."""
    while True:
        try:
            reply = await asking.request(body, timeout_s=1)
        except ReplyTimeout:  # it went to the pool that nobody answers
            continue
        if reply.headers["pelton-route"] == route:
            return reply
