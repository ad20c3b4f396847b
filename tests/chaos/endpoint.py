"""The endpoint behind the workers of `--engine openai`: it answers as the simulated engine does, most of the time.

python -m tests.chaos.endpoint PORT
"""

import asyncio
import random
import sys
from pathlib import Path
from typing import Any

import orjson

from benchmarks.support.mock_endpoint import Behaviour, MockEndpoint
from pelton.stack.ports import free_port
from pelton.stack.process import ChildProcess
from pelton.workers.engine.simulated.text import signature
from tests.faulty.engine import Mark

BUSY_SHARE, BROKEN_SHARE = 0.03, 0.005
"""Calls that are not taken, and those that are broken off in the middle of the answer."""
PAUSE = (("retry-after-ms", "300"),)
FIRST_S, LAST_S = 0.1, 2.5
"""How long an answer takes."""
READY_S = 30


class EndpointProcess:
    """In a process of its own, from `start` to `close`."""

    def __init__(self, folder: Path) -> None:
        """Its log is in `folder`."""
        self._port = free_port()
        self._folder = folder
        self._process: ChildProcess | None = None

    @property
    def settings(self) -> dict[str, str]:
        """Of the workers that ask it."""
        return {
            "PELTON_ENGINE__KIND": "openai",
            "PELTON_ENGINE__REMOTE__ENDPOINTS": orjson.dumps([f"http://127.0.0.1:{self._port}/v1"]).decode(),
        }

    def start(self) -> None:
        """Raises `StackError`."""
        command = [sys.executable, "-m", "tests.chaos.endpoint", str(self._port)]
        log = self._folder / "endpoint.log"
        self._process = ChildProcess("The endpoint", command, log_file=log, grace_s=5)
        self._process.wait_ready(lambda: "http" in log.read_text(), READY_S)

    def close(self) -> None:
        if self._process is not None:
            self._process.stop()


def behave(number: int, body: dict[str, Any]) -> Behaviour:
    """By the number of the call, so that one that is sent again goes better."""
    rng = random.Random(number)
    text = "\n".join(f"{message['role']}: {message['content']}" for message in body["messages"])
    drawn, takes_s = rng.random(), rng.uniform(FIRST_S, LAST_S)
    if drawn < BUSY_SHARE:
        return Behaviour(status=429, headers=PAUSE)
    if Mark.FAIL in text:
        return Behaviour(takes_s, status=500)
    answer = _completion(signature(text), number)
    return Behaviour(takes_s, broken_off=drawn < BUSY_SHARE + BROKEN_SHARE, body=answer)


def _completion(text: str, number: int) -> bytes:
    return orjson.dumps(
        {
            "id": f"theirs-{number}",
            "object": "chat.completion",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": len(text), "total_tokens": 9 + len(text)},
        }
    )


async def serve(port: int) -> None:
    async with MockEndpoint(behave, port, keeps_calls=False).serving() as endpoint:
        print(endpoint.url, flush=True)  # noqa: T201  # it is there
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
