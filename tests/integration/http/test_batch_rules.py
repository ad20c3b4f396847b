"""What holds of batches beside their lines: webhook, deletion of inputs, places, signatures, traces."""

import asyncio
import base64
from typing import Any

import openai
import orjson
import pytest

from pelton.pipeline.settings.webhook import WebhookSettings
from tests.faulty.receiver import receiving

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
TENANT_KEY = "a key of sixteen or more"


def lines(count: int) -> bytes:
    body = {"model": "default", "messages": [{"role": "user", "content": "hello"}]}
    head = {"method": "POST", "url": "/v1/chat/completions", "body": body}
    return b"".join(orjson.dumps({"custom_id": f"q-{number}", **head}) + b"\n" for number in range(count))


async def begin(client: openai.AsyncOpenAI, count: int) -> Any:
    uploaded = await client.files.create(file=("in.jsonl", lines(count)), purpose="batch")
    return await client.batches.create(
        input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
    )


async def ended(client: openai.AsyncOpenAI, batch_id: str) -> Any:
    async with asyncio.timeout(60):
        while (batch := await client.batches.retrieve(batch_id)).status not in {"completed", "cancelled"}:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        return batch


async def test_the_webhook_hears_of_the_end(place, server, tmp_path):
    """Until it takes it, and then no more; OpenAI's client believes it."""
    at = await place()
    with receiving(503) as receiver:
        webhook = WebhookSettings(url=receiver.url, secret=SECRET)
        settings = at.settings.model_copy(update={"webhook": webhook})
        async with at.worker(), server(settings, tmp_path).running() as here, here.client() as client:
            batch = await begin(client, 2)
            await ended(client, batch.id)
            async with asyncio.timeout(60):
                while len(receiver.got) < 2:  # noqa: ASYNC110  # another thread's doing
                    await asyncio.sleep(0.05)
        (_, refused, _), (_, headers, body) = receiver.got
    event = client.webhooks.unwrap(body, headers, secret=SECRET)
    assert (event.type, event.data.id) == ("batch.completed", batch.id)
    assert refused["webhook-id"] == headers["webhook-id"]
    assert orjson.loads(body)["data"]["request_counts"] == {"total": 2, "completed": 2, "failed": 0}


async def test_an_input_that_is_read_is_not_deleted(place, server, tmp_path):
    """It would end the batch that reads it, with all its results; afterwards it may go."""
    at = await place(simulated={"ttft_ms": 200, "itl_ms": 20})
    async with at.worker(), server(at.settings, tmp_path, max_in_flight=4).running() as here, here.client() as client:
        batch = await begin(client, 200)
        with pytest.raises(openai.ConflictError) as refused:
            await client.files.delete(batch.input_file_id)
        assert refused.value.code == "file_in_use"
        await client.batches.cancel(batch.id)
        await ended(client, batch.id)
        assert (await client.files.delete(batch.input_file_id)).deleted


async def test_a_cancelled_batch_waits_in_no_line(place, server, tmp_path):
    """It ends while the batch before it has the only place."""
    at = await place(partitions=1, simulated={"ttft_ms": 200, "itl_ms": 20})
    here = server(at.settings, tmp_path, max_in_flight=4, max_batches_running=1)
    async with at.worker(), here.running(), here.client() as client:
        first = await begin(client, 300)
        second = await begin(client, 3)
        await client.batches.cancel(second.id)
        done = await ended(client, second.id)
        assert (done.status, done.request_counts.failed) == ("cancelled", 3)
        assert (await client.batches.retrieve(first.id)).status == "in_progress"
        await client.batches.cancel(first.id)
        await ended(client, first.id)


async def test_requests_of_a_batch_are_signed(place, server, tmp_path, keys_file):
    """Where tenants have keys, workers believe no request without a signature, and take none back without one."""
    at = await place(kafka={"tenant_keys": {"acme": TENANT_KEY}}, simulated={"ttft_ms": 200, "itl_ms": 20})
    here = server(at.settings, tmp_path / "files", keys_file=keys_file(acme="one"), max_in_flight=8)
    async with at.worker(), here.running(), here.client("one") as client:
        batch = await begin(client, 4)
        done = await ended(client, batch.id)
        assert (done.request_counts.completed, done.request_counts.failed) == (4, 0)
        batch = await begin(client, 500)
        while not (await client.batches.retrieve(batch.id)).request_counts.completed:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.05)
        await client.batches.cancel(batch.id)
        async with asyncio.timeout(60):  # less than a batch waits for requests that nobody takes back
            assert (await ended(client, batch.id)).status == "cancelled"


async def test_each_line_of_a_batch_is_a_trace(place, server, tmp_path, kept):
    """From the transaction that sends it, through the worker, to its result; its correlation id names the batch."""
    at = await place()
    running = server(at.settings, tmp_path)
    async with at.worker(kept.traces), running.running(kept.traces) as here, here.client() as client:
        batch = await begin(client, 3)
        await ended(client, batch.id)
    traces = [kept.of(f"{batch.id}-{line}".encode()) for line in (1, 2, 3)]
    for spans in traces:
        sent = [span for span in spans["send"] if span.name == f"send {at.requests}"]
        assert [span.parent for span in sent] == [None]
        assert spans["process"][0].parent.span_id == sent[0].context.span_id
        assert spans["receive"][0].name == f"receive {at.replies}"
    assert len({spans["process"][0].context.trace_id for spans in traces}) == 3
