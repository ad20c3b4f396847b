"""Who gets the engine next: lanes by topic and header, tenants by what they were given."""

import asyncio
import json
import math
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

from pelton.producers.client import InferenceClient
from tests.integration.conftest import ForeignClient, Place, chat

FLOOD = 300
"""Far more batch requests than the queue holds and the engine runs."""
PEOPLE = 5
GREEDY, MODEST = 400, 20
UNLIMITED = {"max_waiting_requests": 1_000, "max_waiting_tokens": 1_000_000}


async def test_a_flood_of_batch_does_not_delay_the_interactive(
    place: Callable[..., Any], client: ForeignClient
) -> None:
    """Sent last, on a topic of their own, they are answered while nearly all of the flood still waits."""
    bulk, urgent = f"bulk-{uuid.uuid4().hex[:8]}", f"urgent-{uuid.uuid4().hex[:8]}"
    at: Place = await place(
        partitions=1,
        kafka={"request_topics": (bulk, urgent), "interactive_topics": (urgent,)},
        simulated={"itl_ms": 5, "max_running": 8},
        worker={"max_waiting_requests": 32},
        cache={"enabled": False},
    )
    await client.send_many(bulk, [chat(f"job {index}") for index in range(FLOOD)])
    finished = at.metrics.finished.labels("ok")._value
    async with asyncio.timeout(60), at.worker():
        while at.metrics.waiting_requests._value.get() < 30:  # noqa: ASYNC110  # a figure has no event
            await asyncio.sleep(0.02)
        before = finished.get()
        for index in range(PEOPLE):
            await client.send(urgent, chat(f"person {index}"), [("pelton-tenant", b"person")])
        replies = await client.read(at.replies, FLOOD + PEOPLE, timeout_s=60)
    tenants = [dict(record.headers).get("pelton-tenant") for record in replies]
    last = max(place for place, tenant in enumerate(tenants) if tenant == b"person")
    assert last - before < FLOOD / 3


async def test_a_batch_request_on_the_same_topic_stands_back(place: Callable[..., Any], client: ForeignClient) -> None:
    """The header decides among those that wait in a worker."""
    at: Place = await place(partitions=1, simulated={"itl_ms": 5, "max_running": 2}, worker=UNLIMITED)
    await client.send_many(at.requests, [chat(f"job {index}") for index in range(40)])
    await client.send(
        at.requests, chat("person"), [("pelton-priority", b"interactive"), ("kafka_correlationId", b"person")]
    )
    async with asyncio.timeout(60), at.worker():
        replies = await client.read(at.replies, 41)
    ids = [dict(record.headers)["kafka_correlationId"] for record in replies]
    assert ids.index(b"person") < 20


async def test_two_tenants_that_wait_are_given_the_same(place: Callable[..., Any], client: ForeignClient) -> None:
    """One sends twenty times as much before the other begins: until that has all, each is given half."""
    tokens = {"min_output_tokens": 16, "mean_output_tokens": 16, "max_output_tokens": 16}
    at: Place = await place(
        partitions=1, simulated={"itl_ms": 2, "max_running": 4, **tokens}, worker=UNLIMITED, cache={"enabled": False}
    )
    for tenant, count in ((b"greedy", GREEDY), (b"modest", MODEST)):
        asked = [chat(f"{tenant!r} {index}", max_tokens=16) for index in range(count)]
        await client.send_many(at.requests, asked, [("pelton-tenant", tenant)])
    async with asyncio.timeout(60), at.worker():
        replies = await client.read(at.replies, GREEDY + MODEST, timeout_s=60)
    order = [dict(record.headers)["pelton-tenant"] for record in replies]
    begin = order.index(b"modest")
    end = max(place for place, tenant in enumerate(order) if tenant == b"modest")
    both = Counter(order[begin : end + 1])
    assert MODEST * 0.8 <= both[b"greedy"] <= MODEST * 1.4


async def test_a_tenant_over_its_quota_waits_and_holds_nobody_up(
    place: Callable[..., Any], client: ForeignClient
) -> None:
    """Without Redis a worker alone gives the whole quota. All are answered: the tenant's two at a time."""
    at: Place = await place(
        partitions=1,
        simulated={"itl_ms": 5, "ttft_ms": 0, "max_running": 16, "min_output_tokens": 20, "mean_output_tokens": 20},
        worker={**UNLIMITED, "flush_interval_ms": 0},
        cache={"enabled": False},
        quota={"tenants": {"bound": {"running": 2}}},
    )
    for tenant in (b"bound", b"free"):
        asked = [chat(f"{tenant!r} {index}", max_tokens=20) for index in range(12)]
        await client.send_many(at.requests, asked, [("pelton-tenant", tenant)])
    async with asyncio.timeout(60), at.worker():
        replies = await client.read(at.replies, 24, timeout_s=60)
    order = [dict(record.headers)["pelton-tenant"] for record in replies]
    assert order[-4:] == [b"bound"] * 4, "the free go by"
    decisions = {
        name: at.metrics.quota_decisions.labels(name)._value.get() for name in ("granted", "waited", "refused")
    }
    assert decisions["granted"] == 12
    assert decisions["waited"] >= 8
    assert decisions["refused"] == 0


async def test_a_tenant_over_its_quota_is_refused_by_setting(place: Callable[..., Any], client: ForeignClient) -> None:
    """With when to send again; what could never fit is refused whatever the setting, and says what to change."""
    at: Place = await place(
        partitions=1, quota={"default": {"requests_per_minute": 3, "tokens_per_minute": 1_000}, "over": "refuse"}
    )
    await client.send_many(at.requests, [chat(f"request {index}", max_tokens=10) for index in range(5)])
    await client.send(at.requests, chat("large", max_tokens=2_000))
    async with asyncio.timeout(60), at.worker():
        replies = await client.read(at.replies, 6)
    errors = [json.loads(record.value or b"")["error"] for record in replies if b'"error"' in (record.value or b"")]
    assert [error["code"] for error in errors] == ["rate_limited"] * 3
    assert [error["param"] for error in errors].count("max_tokens") == 1
    waits = [dict(record.headers).get("pelton-retry-after-ms") for record in replies]
    assert all(50_000 < int(wait) <= 62_000 for wait in waits if wait)
    assert sum(wait is not None for wait in waits) == 2


async def test_who_would_be_too_late_is_refused_at_once_by_setting(
    place: Callable[..., Any], client: ForeignClient
) -> None:
    """Once the speed is known: behind some seconds of work, half a second is no use, and a minute is."""
    tokens = {"min_output_tokens": 20, "mean_output_tokens": 20, "max_output_tokens": 20}
    at: Place = await place(
        partitions=1,
        simulated={"itl_ms": 10, "ttft_ms": 0, "max_running": 4, **tokens},
        worker=UNLIMITED,
        cache={"enabled": False},
        overload={"refuse_late": True},
    )
    async with asyncio.timeout(60), at.worker():
        await client.send_many(at.requests, [chat(f"job {index}", max_tokens=20) for index in range(100)])
        while math.isnan(at.metrics.line_speed._value.get()):  # noqa: ASYNC110  # a figure has no event
            await asyncio.sleep(0.05)
        for name, seconds in (("soon", 0.5), ("later", 50)):
            deadline = str(int((time.time() + seconds) * 1_000)).encode()
            headers = [("pelton-deadline", deadline), ("kafka_correlationId", name.encode())]
            await client.send(at.requests, chat(name, max_tokens=20), headers)
        replies = await client.read(at.replies, 102, timeout_s=60)
    ids = [dict(record.headers)["kafka_correlationId"] for record in replies]
    refused = json.loads(replies[ids.index(b"soon")].value or b"")["error"]
    assert refused["code"] == "deadline_exceeded"
    assert "The answer would come in about" in refused["message"]
    assert ids.index(b"soon") < 80, "not when its turn had come"
    assert b'"choices"' in (replies[ids.index(b"later")].value or b"")
    assert at.metrics.overload_actions.labels("refused_late")._value.get() == 1


async def test_under_load_answers_are_cut_and_requests_refused_by_setting(
    place: Callable[..., Any], client: ForeignClient
) -> None:
    """Each once, with what was done to it in its reply, also where it shares the answer of an equal one that was cut;
    afterwards the same request gets all that it asks for.
    """
    tokens = {"min_output_tokens": 64, "mean_output_tokens": 64, "max_output_tokens": 64}
    at: Place = await place(
        partitions=1,
        simulated={"itl_ms": 5, "ttft_ms": 0, "max_running": 4, **tokens},
        worker={"max_waiting_requests": 8},
        overload={"shorten_above_s": 1.0, "shorten_to": 8, "refuse_above_s": 4.0},
    )
    asked = [chat(f"job {index // 2}", max_tokens=64, temperature=0) for index in range(240)]
    async with asyncio.timeout(60), at.worker():
        await client.send_many(at.requests, asked)
        replies = await client.read(at.replies, 240, timeout_s=60)
        cut = [record for record in replies if dict(record.headers).get("pelton-degraded")]
        place_of_cut = int(dict(cut[0].headers)["pelton-source"].rsplit(b"-", 1)[1])
        while at.metrics.backlog_requests._value.get():  # noqa: ASYNC110  # a figure has no event
            await asyncio.sleep(0.05)
        await client.send(at.requests, asked[place_of_cut])
        again = (await client.read(at.replies, 241))[-1]
    refused = [record for record in replies if dict(record.headers).get("pelton-retry-after-ms")]
    done = {name: at.metrics.overload_actions.labels(name)._value.get() for name in ("shortened", "refused")}
    assert done == {"shortened": len(cut), "refused": len(refused)}
    assert {json.loads(record.value or b"")["error"]["code"] for record in refused} == {"overloaded"}
    for record in cut:
        body = json.loads(record.value or b"")
        assert body["pelton_degraded"] == {"max_completion_tokens": 8}
        assert body["usage"]["completion_tokens"] == 8
        assert dict(record.headers)["pelton-degraded"] == b"max_completion_tokens=8"
    assert {dict(record.headers)["pelton-cache"] for record in cut} > {b"miss"}, "some share an answer"
    whole = json.loads(again.value or b"")
    assert whole["usage"]["completion_tokens"] == 64
    assert "pelton_degraded" not in whole


async def test_a_thousand_cancels_end_a_thousand_requests_and_no_other(place: Callable[..., Any]) -> None:
    """Running or waiting: each gets the one reply `cancelled`, and all others are answered."""
    at: Place = await place(
        partitions=2,
        simulated={
            "itl_ms": 5,
            "max_running": 600,
            "min_output_tokens": 512,
            "mean_output_tokens": 512,
            "max_output_tokens": 512,
        },
        worker=UNLIMITED | {"max_waiting_requests": 2_000},
        cache={"enabled": False},
    )
    ids = [f"cut-{index}".encode() for index in range(1_000)]
    async with asyncio.timeout(90), at.worker(), InferenceClient(at.settings.kafka) as sender:
        cut = [asyncio.create_task(sender.request(_long(each.decode()), correlation_id=each)) for each in ids]
        stay = [asyncio.create_task(sender.request(_long(f"stay {index}"))) for index in range(50)]
        while at.metrics.running_requests._value.get() < 500:  # noqa: ASYNC110  # a figure has no event
            await asyncio.sleep(0.02)
        await sender.cancel(*ids)
        ended = [json.loads(reply.value)["error"]["code"] for reply in await asyncio.gather(*cut)]
        answered = [json.loads(reply.value) for reply in await asyncio.gather(*stay)]
    assert ended == ["cancelled"] * 1_000
    assert all("choices" in answer for answer in answered)


def _long(text: str) -> bytes:
    return chat(text, max_tokens=512)
