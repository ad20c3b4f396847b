"""The topic of batches is read whatever codec compresses it."""

import asyncio

import orjson
import pytest

from tests.integration.compressed import CODECS, new_topics_compressed

LINE = {"custom_id": "q", "method": "POST", "url": "/v1/chat/completions"}
BODY = {"model": "default", "messages": [{"role": "user", "content": "hello"}]}


@pytest.mark.parametrize("codec", CODECS)
async def test_a_batch_is_done_over_a_compressed_topic(place, server, tmp_path, codec):
    """Its order, its progress and its end come back from Kafka."""
    with new_topics_compressed(codec):
        at = await place(partitions=1)
        async with at.worker(), server(at.settings, tmp_path).running() as here, here.client() as client:
            file = ("in.jsonl", orjson.dumps({**LINE, "body": BODY}) + b"\n")
            uploaded = await client.files.create(file=file, purpose="batch")
            batch = await client.batches.create(
                input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
            async with asyncio.timeout(60):
                while (done := await client.batches.retrieve(batch.id)).status != "completed":  # noqa: ASYNC110  # no event
                    await asyncio.sleep(0.05)
    assert done.request_counts.completed == 1
