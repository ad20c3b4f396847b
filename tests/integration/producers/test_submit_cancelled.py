"""A batch taken back by a second Ctrl-C: its process, a worker, and the cancels between them."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from tests.integration.conftest import Place

SENT = 12
ENDLESS = {"itl_ms": 50, "min_output_tokens": 600, "mean_output_tokens": 600, "max_output_tokens": 600}


async def _submit(at: Place, source: Path, out: Path) -> asyncio.subprocess.Process:
    kafka = at.settings.kafka
    environment = os.environ | {
        "PELTON_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "PELTON_KAFKA__REQUEST_TOPICS": orjson.dumps(kafka.request_topics).decode(),
        "PELTON_KAFKA__REPLY_TOPIC": kafka.reply_topic,
        "PELTON_KAFKA__CANCELS_TOPIC": kafka.cancels_topic,
    }
    command = ("-P", "-m", "pelton", "submit", str(source), "--out", str(out), "--max-in-flight", str(SENT))
    return await asyncio.create_subprocess_exec(
        sys.executable, *command, env=environment, stderr=asyncio.subprocess.PIPE
    )


async def _says(process: asyncio.subprocess.Process, text: bytes) -> bytes:
    assert process.stderr is not None
    while text not in (line := await process.stderr.readline()):
        assert line, f"it has ended without saying {text!r}"
    return line


async def test_a_second_ctrl_c_takes_back_what_was_sent(place: Callable[..., Any], tmp_path: Path) -> None:
    """It says how many and ends with 130; the worker stops in the middle of them. The next run finds them cancelled,
    and sends what was not sent.
    """
    at: Place = await place(simulated=ENDLESS | {"max_running": 64}, worker={"max_waiting_requests": 1_000})
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    body = {"model": "default", "messages": [{"role": "user", "content": "go on for ever"}]}
    lines = [{"custom_id": f"{n}", "method": "POST", "url": "/v1/chat/completions", "body": body} for n in range(15)]
    short = body | {"max_tokens": 1}
    lines[SENT:] = [line | {"body": short} for line in lines[SENT:]]
    source.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    async with asyncio.timeout(60), at.worker():
        process = await _submit(at, source, out)
        while at.metrics.running_requests._value.get() < SENT:  # noqa: ASYNC110  # a figure has no event
            await asyncio.sleep(0.02)
        process.send_signal(signal.SIGINT)
        await _says(process, b"12 requests are unanswered")
        process.send_signal(signal.SIGINT)
        await _says(process, b"12 of 12 unanswered requests are cancelled.")
        assert await process.wait() == 130
        while at.metrics.finished.labels("cancelled")._value.get() < SENT:  # noqa: ASYNC110  # likewise
            await asyncio.sleep(0.02)
        again = await _submit(at, source, out)
        await again.communicate()
    assert again.returncode == 1
    found = [orjson.loads(line) for line in out.read_bytes().splitlines()]
    codes = Counter((line["response"]["body"].get("error") or {}).get("code") for line in found)
    assert codes == {"cancelled": SENT, None: 3}
