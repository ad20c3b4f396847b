"""A batch that stops at its cap keeps what it has, and goes on with a higher one."""

import time

import orjson
import pytest

from pelton.producers.batch.submit import submit
from pelton.producers.errors import CapReached


def write_batch(path, count):
    body = {"model": "default", "messages": [{"role": "user", "content": "hello"}]}
    asked = {"method": "POST", "url": "/v1/chat/completions", "body": body}
    path.write_bytes(b"".join(orjson.dumps({"custom_id": f"id-{n}", **asked}) + b"\n" for n in range(count)))
    return path


async def test_a_cap_stops_the_sending_and_nothing_is_lost(kafka, stand_in, tmp_path):
    """Each answer uses 5 tokens: a cap of 1,000 is for 200 of them; the next call sends the rest, and nothing twice."""
    source, out = write_batch(tmp_path / "in.jsonl", 300), tmp_path / "out.jsonl"
    async with stand_in() as worker:
        with pytest.raises(CapReached, match="--max-tokens-total"):
            await submit(kafka, source, out, timeout_s=60, max_in_flight=4, max_tokens_total=1_000)
        done = len(out.read_bytes().splitlines())
        assert 190 <= done <= 200
        summary = await submit(kafka, source, out, timeout_s=60, max_tokens_total=100_000)
        assert (summary.answered, summary.sent) == (300, 300 - done)
        assert len(worker.seen) == 300


async def test_a_rate_is_kept(kafka, stand_in, tmp_path):
    """Thirty requests at twenty a second take a second and a half."""
    source, out = write_batch(tmp_path / "in.jsonl", 30), tmp_path / "out.jsonl"
    async with stand_in():
        started = time.monotonic()
        await submit(kafka, source, out, timeout_s=60, rate_per_s=20)
    assert time.monotonic() - started >= 29 / 20
