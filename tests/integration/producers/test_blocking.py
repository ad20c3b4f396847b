"""The client for programs without an event loop: the same answers, from threads and inside a running loop."""

import asyncio
import threading

import pytest

from pelton.producers import BlockingClient, RequestItem


def asking(content):
    return {"model": "default", "messages": [{"role": "user", "content": content}]}


def content_of(reply):
    return reply.completion().choices[0].message.content


async def test_it_answers_where_a_loop_runs(kafka, stand_in):
    """As in a notebook: nothing but a thread is needed; items keep what is their own."""

    def use():
        with BlockingClient(kafka) as client:
            first = client.complete([{"role": "user", "content": "one"}], temperature=0)
            items = [asking("two"), RequestItem(asking("three"), correlation_id=b"mine", tenant="acme", session="s")]
            replies = list(client.submit_many(items, timeout_s=60, tenant="all"))
            left_early = client.submit_many(iter([asking("four")]), timeout_s=60)
            next(left_early)
            left_early.close()
            return first, replies

    async with stand_in() as worker:
        first, replies = await asyncio.to_thread(use)
    assert first.choices[0].message.content == "echo: one"
    assert sorted((reply.index, content_of(reply)) for reply in replies) == [(0, "echo: two"), (1, "echo: three")]
    by_text = {record.value.split(b'"content":"')[1].split(b'"')[0]: record for record in worker.seen}
    assert dict(by_text[b"two"].headers)["pelton-tenant"] == b"all"
    three = dict(by_text[b"three"].headers)
    assert (three["kafka_correlationId"], three["pelton-tenant"], three["pelton-session"]) == (b"mine", b"acme", b"s")
    assert not [thread for thread in threading.enumerate() if "AnyIO" in thread.name]


async def test_a_client_that_is_not_open_says_so(kafka):
    """Instead of failing on something inside it."""
    with pytest.raises(RuntimeError, match="with BlockingClient"):
        BlockingClient(kafka).request(asking("x"))
