"""Joins, leaves and a full line: membership is kept, and nothing on a kept partition is generated twice."""

import asyncio
from collections import Counter

import orjson

FULL_S = 8
"""More than a session of 6 s: a member that missed its heartbeats would be out."""


def headers_of(record) -> dict[str, bytes]:
    return dict(record.headers)


async def test_a_join_under_load_regenerates_nothing_on_kept_partitions(place, recorded, client, chat_body):
    """A second worker joins and leaves in the middle of the work: what stays with the first is generated once."""
    at = await place(partitions=6, simulated={"itl_ms": 10, "max_running": 16})
    count = 600
    await client.send_many(at.requests, [chat_body(str(index)) for index in range(count)])
    async with recorded(at.settings).running() as first:
        await client.read(at.replies, 60)
        async with recorded(at.settings).running() as second:
            async with asyncio.timeout(60):
                while not second.generated:  # noqa: ASYNC110  # until partitions have moved
                    await asyncio.sleep(0.02)
            kept = first.partitions
        await client.read(at.replies, count, timeout_s=60)
    replies = await client.read_all(at.replies)
    assert Counter(headers_of(reply)["pelton-source"] for reply in replies).most_common(1)[0][1] == 1
    assert len(replies) == count
    assert kept
    of_kept = {
        orjson.loads(record.value)["messages"][0]["content"]
        for record in await client.read_all(at.requests)
        if record.partition in kept
    }
    generated = Counter(first.generated) + Counter(second.generated)
    assert {content: generated[content] for content in of_kept} == dict.fromkeys(of_kept, 1)


async def test_a_full_line_costs_no_membership(place, recorded, client, chat_body):
    """The line is full for more than a session while another worker joins: nobody is evicted, all is answered once."""
    at = await place(
        partitions=4,
        simulated={"itl_ms": 500, "min_output_tokens": 40, "mean_output_tokens": 40, "max_running": 4},
        worker={"max_waiting_requests": 4, "drain_timeout_s": 1},
    )
    count = 60
    await client.send_many(at.requests, [chat_body(str(index)) for index in range(count)])
    async with recorded(at.settings).running() as first:
        async with asyncio.timeout(60):
            parts = first.worker.parts
            while len(parts.queue) < 4 or len(parts.assignment.fetchable()) < 4:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.02)
        trackers = {
            partition: first.worker.parts.assignment.tracker(partition)
            for partition in first.worker.parts.assignment.fetchable()
        }
        async with recorded(at.settings).running() as second:
            await asyncio.sleep(FULL_S)
            kept = first.worker.parts.assignment.fetchable()
            assert {partition.partition for partition in kept} | second.partitions == {0, 1, 2, 3}
            assert len(kept) == len(second.partitions) == 2
            assert all(first.worker.parts.assignment.tracker(partition) is trackers[partition] for partition in kept)
    quick = await place(partitions=4)
    settings = at.settings.model_copy(update={"engine": quick.settings.engine})
    async with recorded(settings).running():
        await client.read(at.replies, count, timeout_s=60)
    replies = Counter(headers_of(reply)["pelton-source"] for reply in await client.read_all(at.replies))
    assert len(replies) == count
    assert set(replies.values()) == {1}


async def test_thousands_in_flight_press_back(place, recorded, client, chat_body):
    """5,000 requests in flight on one partition, finishing in any order: no commit breaks Kafka's limit."""
    at = await place(
        partitions=1,
        simulated={
            "itl_ms": 5,
            "min_output_tokens": 8,
            "mean_output_tokens": 200,
            "max_output_tokens": 400,
            "max_running": 5_000,
        },
        worker={"max_waiting_requests": 5_000, "max_waiting_tokens": 10_000_000},
    )
    count = 5_000
    await client.send_many(at.requests, [chat_body(str(index)) for index in range(count)])
    async with recorded(at.settings).running() as worker:
        held = 0
        reading = asyncio.create_task(client.read(at.replies, count, timeout_s=90))
        while not reading.done():
            held = max(held, worker.metrics.registry.get_sample_value("pelton_running_requests"))
            await asyncio.sleep(0.05)
        replies = await reading
        assert worker.metrics.registry.get_sample_value("pelton_publish_failures_total") == 0
    assert 1_500 < held < 3_000
    assert Counter(headers_of(reply)["kafka_correlationId"] for reply in replies) == Counter(
        str(index).encode() for index in range(count)
    )
