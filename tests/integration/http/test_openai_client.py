"""OpenAI's own client, with only its address changed, against a server and a worker."""

import asyncio
from collections.abc import Callable
from typing import Any

import openai
import orjson
import pytest

ENDS = ("completed", "failed", "cancelled", "expired")
QUESTION = [{"role": "user", "content": "hello"}]


def batch_lines(count: int, **body: Any) -> bytes:
    return b"".join(
        orjson.dumps(
            {
                "custom_id": f"q-{index}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": "default", "messages": [{"role": "user", "content": f"hello {index}"}], **body},
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        for index in range(count)
    )


async def ended(client: openai.AsyncOpenAI, batch_id: str, timeout_s: float = 60) -> Any:
    """Poll until the batch has ended, as OpenAI's guide does."""
    return await polled(client, batch_id, lambda batch: batch.status in ENDS, timeout_s)


async def begun(client: openai.AsyncOpenAI, batch_id: str) -> Any:
    """Poll until the first answer is counted."""
    return await polled(client, batch_id, lambda batch: batch.request_counts.completed > 0, 60)


async def polled(client: openai.AsyncOpenAI, batch_id: str, holds: Callable[[Any], bool], timeout_s: float) -> Any:
    async with asyncio.timeout(timeout_s):
        while True:
            batch = await client.batches.retrieve(batch_id)
            if holds(batch):
                return batch
            await asyncio.sleep(0.1)


async def test_a_question_and_its_answer(place, server, tmp_path):
    """Plain and streamed, the same text; an error is the client's own type with the code of the contract."""
    at = await place()
    async with at.worker(), server(at.settings, tmp_path).running() as here, here.client() as client:
        plain = await client.chat.completions.create(model="default", messages=QUESTION, temperature=0, timeout=30)
        assert plain.choices[0].message.content
        assert plain.usage.completion_tokens
        stream = await client.chat.completions.create(
            model="default", messages=QUESTION, temperature=0, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == plain.choices[0].message.content
        assert chunks[-1].usage == plain.usage
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model="default", messages=QUESTION, extra_body={"colour": "blue"})
        assert refused.value.code == "unknown_parameter"
        assert [model.id async for model in client.models.list()]


async def test_an_answer_is_found_by_its_request_id(place, server, tmp_path, client):
    """The id that OpenAI's client shows is the record's correlation id; of a stream and of an error, too."""
    at = await place()
    async with at.worker(), server(at.settings, tmp_path).running() as here, here.client() as caller:
        asking = caller.chat.completions
        ids = [(await asking.create(model="default", messages=QUESTION, timeout=30))._request_id]
        stream = await asking.create(model="default", messages=QUESTION, stream=True, timeout=30)
        ids.append(stream.response.headers["x-request-id"])
        await stream.close()
        with pytest.raises(openai.NotFoundError) as refused:
            await asking.create(model="nobody's", messages=QUESTION, timeout=30)
        ids.append(refused.value.request_id)
        replies = await client.read(at.replies, 3)
    assert sorted(dict(reply.headers)["kafka_correlationId"].decode() for reply in replies) == sorted(ids)


async def test_a_callers_trace_goes_on(place, server, tmp_path, client):
    """The reply on the topic has the trace of the HTTP request, in a span of its own."""
    at = await place(partitions=1)
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    async with at.worker(), server(at.settings, tmp_path).running() as here, here.client() as caller:
        headers = {"traceparent": f"00-{trace}-{span}-01"}
        await caller.chat.completions.create(model="default", messages=QUESTION, extra_headers=headers, timeout=30)
    [reply] = await client.read_all(at.replies)
    _, told, own, _ = dict(reply.headers)["traceparent"].decode().split("-")
    assert told == trace
    assert own != span


async def test_a_batch_from_upload_to_download(place, server, tmp_path):
    """Upload, create, poll, download: one line for each request, under its own id; errors are in their own file."""
    at = await place()
    content = batch_lines(50) + batch_lines(1, colour="blue").replace(b"q-0", b"bad")
    async with at.worker(), server(at.settings, tmp_path).running() as here, here.client() as client:
        uploaded = await client.files.create(file=("in.jsonl", content), purpose="batch")
        assert (await client.files.content(uploaded.id)).content == content
        batch = await client.batches.create(
            input_file_id=uploaded.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"for": "test"},
        )
        done = await ended(client, batch.id)
        assert done.status == "completed"
        assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (51, 50, 1)
        answers = list(map(orjson.loads, (await client.files.content(done.output_file_id)).content.splitlines()))
        errors = list(map(orjson.loads, (await client.files.content(done.error_file_id)).content.splitlines()))
        assert [answer["custom_id"] for answer in answers] == [f"q-{index}" for index in range(50)]
        assert [(error["custom_id"], error["response"]["status_code"]) for error in errors] == [("bad", 400)]
        assert [each.id async for each in client.batches.list()] == [batch.id]


async def test_a_file_that_is_no_batch_is_refused_with_its_lines(place, server, tmp_path):
    """The batch fails as a whole before anything is sent, and says which lines are at fault."""
    at = await place()
    async with server(at.settings, tmp_path).running() as here, here.client() as client:
        uploaded = await client.files.create(file=("in.jsonl", batch_lines(1) * 2 + b"nonsense\n"), purpose="batch")
        batch = await client.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        done = await ended(client, batch.id)
    assert done.status == "failed"
    assert [(fault.line, fault.code) for fault in done.errors.data] == [
        (2, "duplicate_custom_id"),
        (3, "invalid_json_line"),
    ]


async def test_a_cancelled_batch_ends_with_what_it_has(place, server, tmp_path):
    """Nothing more is sent; every line is in one of the two files."""
    at = await place(simulated={"ttft_ms": 200, "itl_ms": 20})
    async with at.worker(), server(at.settings, tmp_path, max_in_flight=16).running() as here, here.client() as client:
        uploaded = await client.files.create(file=("in.jsonl", batch_lines(300)), purpose="batch")
        batch = await client.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        await begun(client, batch.id)
        await client.batches.cancel(batch.id)
        done = await ended(client, batch.id)
        lines = [
            line["custom_id"]
            for file_id in (done.output_file_id, done.error_file_id)
            for line in map(orjson.loads, (await client.files.content(file_id)).content.splitlines())
        ]
    assert done.status == "cancelled"
    assert 0 < done.request_counts.completed < 300
    assert sorted(lines) == sorted(f"q-{index}" for index in range(300))


async def test_a_server_that_dies_is_taken_over(place, server, tmp_path):
    """Two servers behind one name; the one that works on a batch ends, and the other ends the batch: no line twice."""
    at = await place(simulated={"ttft_ms": 20, "itl_ms": 2})
    first, second = (server(at.settings, tmp_path, max_in_flight=32) for _ in range(2))
    async with at.worker(), second.running(), second.client() as client:
        async with first.running():
            uploaded = await client.files.create(file=("in.jsonl", batch_lines(400)), purpose="batch")
            batches = [
                await client.batches.create(
                    input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
                )
                for _ in range(3)
            ]
            for batch in batches:
                await begun(client, batch.id)
        for batch in batches:
            done = await ended(client, batch.id, timeout_s=90)
            assert done.status == "completed"
            output = (await client.files.content(done.output_file_id)).content
            ids = [orjson.loads(line)["custom_id"] for line in output.splitlines()]
            assert ids == [f"q-{index}" for index in range(400)]


async def test_tenants_have_keys_and_see_their_own(place, server, tmp_path, keys_file):
    """No key, a wrong one, somebody else's file: each is the client's own error."""
    at = await place()
    here = server(at.settings, tmp_path / "files", keys_file=keys_file(acme="one", other="two"))
    async with here.running(), here.client("one") as acme, here.client("two") as other, here.client("x") as nobody:
        uploaded = await acme.files.create(file=("in.jsonl", batch_lines(1)), purpose="batch")
        with pytest.raises(openai.AuthenticationError):
            await nobody.files.list()
        with pytest.raises(openai.NotFoundError):
            await other.files.retrieve(uploaded.id)
        assert (await acme.files.retrieve(uploaded.id)).bytes == len(batch_lines(1))
        await acme.files.delete(uploaded.id)
        with pytest.raises(openai.NotFoundError):
            await acme.files.content(uploaded.id)
