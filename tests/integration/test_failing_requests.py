"""Requests that keep failing: tried again up to the ceiling, then told and dead-lettered, at nobody else's expense."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.faulty.engine import Mark
from tests.replies import error_code

GOOD = 600
FAILING = GOOD // 4
"""A fifth of all."""
SATURATED = {
    "itl_ms": 8,
    "min_output_tokens": 24,
    "mean_output_tokens": 24,
    "max_output_tokens": 24,
    "max_running": 16,
}


def headers_of(record: Any) -> dict[str, bytes]:
    return dict(record.headers)


@pytest.mark.usefixtures("faulty_engine")
async def test_a_fifth_of_failing_requests_slows_the_others_by_at_most_a_tenth(place, client, chat_body):
    """Side by side: a worker with good requests, and one with as many among which a fifth fails for ever."""
    calm, troubled = [await place(partitions=2, simulated=SATURATED) for _ in range(2)]
    good = [chat_body(f"good {index}") for index in range(GOOD)]
    bad = [chat_body(f"{Mark.FAIL} {index}") for index in range(FAILING)]
    mixed = [body for index in range(FAILING) for body in (bad[index], *good[4 * index : 4 * index + 4])]
    await client.send_many(calm.requests, good)
    await client.send_many(troubled.requests, mixed)
    async with calm.worker(), troubled.worker():
        undisturbed, found = await asyncio.gather(
            client.read(calm.replies, GOOD, 60), client.read(troubled.replies, GOOD + FAILING, 60)
        )
    answers = [reply for reply in found if error_code(reply) is None]
    assert len(answers) == GOOD
    began = min(reply.timestamp for reply in (*undisturbed, *found))
    alone_ms, among_failing_ms = (max(r.timestamp for r in some) - began for some in (undisturbed, answers))
    print(f"good requests took {alone_ms} ms alone, {among_failing_ms} ms among failing ones")  # noqa: T201  # the measurement
    assert among_failing_ms <= 1.1 * alone_ms
    failed = [reply for reply in found if error_code(reply) is not None]
    assert Counter(error_code(reply) for reply in failed) == {"engine_error": FAILING}
    assert {headers_of(reply)["pelton-attempt"] for reply in failed} == {b"3"}
    letters = await client.read_all(troubled.dead_letters)
    assert len(letters) == FAILING
    assert {headers_of(letter)["pelton-attempt"] for letter in letters} == {b"3"}
    assert await client.read_all(calm.dead_letters) == []
