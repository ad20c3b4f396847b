"""Answers that are watched while they are made: over a worker, the stream topic and the server, by OpenAI's client."""

import asyncio
import time
from typing import Any

import orjson
import pytest

from pelton.workers.kafka.topics import ensure_topics

QUESTION = [{"role": "user", "content": "hello"}]
SLOW = {"itl_ms": 15, "ttft_ms": 0, "min_output_tokens": 60, "mean_output_tokens": 60}


@pytest.fixture
async def watched(place) -> Any:
    """A worker's place whose answers take about a second, and can be watched."""
    at = await place(simulated=SLOW)
    kafka = at.settings.kafka.model_copy(update={"stream_topic": f"{at.replies}-stream"})
    await ensure_topics(kafka)
    return type(at)(at.settings.model_copy(update={"kafka": kafka}))


async def test_text_comes_while_the_answer_is_made(watched, server, tmp_path, client):
    """Many pieces, the first long before the last; joined they are the committed reply, which ends them."""
    async with watched.worker(), server(watched.settings, tmp_path).running() as here, here.client() as asking:
        started = time.monotonic()
        came, chunks = [], []
        stream = await asking.chat.completions.create(
            model="default", messages=QUESTION, stream=True, stream_options={"include_usage": True}, timeout=30
        )
        async for chunk in stream:
            came.append(time.monotonic() - started)
            chunks.append(chunk)
        (reply,) = await client.read(watched.replies, 1)
    message = orjson.loads(reply.value)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == message["choices"][0]["message"]["content"]
    assert len(chunks) > 6
    assert came[-1] - came[0] > 0.4
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.model_dump(exclude_none=True) == message["usage"]
    assert all("usage" in chunk.model_fields_set for chunk in chunks)


async def test_a_client_that_leaves_in_the_middle_cancels_its_request(watched, server, tmp_path, client):
    """As one that leaves before the first piece does."""
    async with watched.worker(), server(watched.settings, tmp_path).running() as here, here.client() as asking:
        stream = await asking.chat.completions.create(model="default", messages=QUESTION, stream=True, timeout=60)
        await anext(aiter(stream))
        await stream.close()
        (reply,) = await client.read(watched.replies, 1)
    assert orjson.loads(reply.value)["error"]["code"] == "cancelled"


async def test_without_pieces_the_finished_answer_is_streamed(watched, server, tmp_path):
    """An answer from the cache was never in the making."""
    async with watched.worker(), server(watched.settings, tmp_path).running() as here, here.client() as asking:
        texts = []
        for _ in range(2):
            stream = await asking.chat.completions.create(
                model="default", messages=QUESTION, stream=True, temperature=0, timeout=30
            )
            chunks = [chunk async for chunk in stream]
            texts.append("".join(chunk.choices[0].delta.content or "" for chunk in chunks))
    assert texts[0] == texts[1] != ""


async def test_a_worker_that_has_no_stream_topic_says_so(place, client, chat_body):
    """Asked for is not ignored."""
    at = await place()
    async with at.worker(), asyncio.timeout(60):
        await client.send(at.requests, chat_body(), [("pelton-stream", b"true")])
        (reply,) = await client.read(at.replies, 1)
    assert orjson.loads(reply.value)["error"]["code"] == "unsupported_header"
    assert "kafka.stream_topic" in orjson.loads(reply.value)["error"]["message"]
