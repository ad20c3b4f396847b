"""`pelton serve` with its files in S3: upload, batch, output, delete, and two servers on one bucket."""

import asyncio
import subprocess
import sys

import openai
import orjson
import pytest

from pelton.producers.http.file_store import FileStore

LINE = {"method": "POST", "url": "/v1/chat/completions"}
BODY = {"model": "default", "messages": [{"role": "user", "content": "hello"}]}
COUNT = 50
OTHER_SERVER = """
import io, sys
from pelton.producers.http.file_store import FileStore
store = FileStore(sys.argv[1])
store.put("acme", "file-bbbbbbbb", io.BytesIO(b"theirs"), filename="b", purpose="batch")
store.put_part("batch", "1", b"part")
"""


async def test_a_batch_is_done_over_a_bucket(place, server, bucket):
    """OpenAI's client uploads, awaits and reads it; what is deleted is gone."""
    lines = [orjson.dumps({"custom_id": f"q{index}", **LINE, "body": BODY}) for index in range(COUNT)]
    at = await place(partitions=1)
    served = server(at.settings, bucket)
    async with at.worker(), served.running() as here, here.client() as client:
        uploaded = await client.files.create(file=("in.jsonl", b"\n".join(lines)), purpose="batch")
        batch = await client.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        async with asyncio.timeout(60):
            while (done := await client.batches.retrieve(batch.id)).status != "completed":  # noqa: ASYNC110  # no event
                await asyncio.sleep(0.1)
        output = await client.files.content(str(done.output_file_id))
        answered = [orjson.loads(line)["custom_id"] for line in output.content.splitlines()]
        listed = {file.id async for file in await client.files.list()}
        await client.files.delete(uploaded.id)
        with pytest.raises(openai.NotFoundError):
            await client.files.retrieve(uploaded.id)
    assert sorted(answered) == sorted(f"q{index}" for index in range(COUNT))
    assert listed == {uploaded.id, done.output_file_id}


def test_what_another_server_stores_is_seen_at_once(bucket):
    """Also in a folder that was listed before: a list that is kept would hide the other's files."""
    store = FileStore(bucket)
    before = store.listed("acme")
    subprocess.run([sys.executable, "-P", "-c", OTHER_SERVER, bucket], check=True)
    assert [file.id for file in store.listed("acme")] == ["file-bbbbbbbb", *(file.id for file in before)]
    assert store.part("batch", "1") == b"part"
    store.drop_parts("batch")
    with pytest.raises(OSError, match="batch"):
        store.part("batch", "1")
    store.sweep(-1)
