"""One batch, and a server that dies while it works on it; another one goes on."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import psutil

from pelton.stack.ports import free_port
from pelton.stack.process import ChildProcess
from tests.serve_chaos.points import POINTS, Point
from tests.serve_chaos.verdict import batch_lines, faults, leftovers

ENDED = ("completed", "failed", "cancelled", "expired")
SLOWLY = {"PELTON_SERVE__MAX_IN_FLIGHT": "32"}
"""So that a batch with its first answers has not ended before its cancel is there."""
READY_S = 150
LONGEST_S = 240
THAWED_S = 3.0
"""How long a thawed server gets to do harm."""


@dataclass(frozen=True, slots=True)
class Place:
    """`environment` leads servers to the topics; files and logs of all cases are below `folder`."""

    environment: Mapping[str, str]
    folder: Path
    lines: int


@dataclass(slots=True)
class Case:
    """What came of one point. `took_s` is from the death to the end of the batch."""

    point: Point
    batch_id: str = ""
    took_s: float = 0.0
    wrong: list[str] = field(default_factory=list)


class Server:
    """A `pelton serve` process on a port of its own."""

    def __init__(self, name: str, place: Place, environment: Mapping[str, str], point: int | None = None) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "pelton", "serve"]
        if point is not None:
            command[2:] = ["tests.serve_chaos.dying_server", str(point)]
        settings = {**place.environment, **environment, "PELTON_SERVE__PORT": str(self.port)}
        log = place.folder / f"{name}.log"
        self.process = ChildProcess(name, command, log_file=log, grace_s=15, environment=settings)

    async def ready(self) -> None:
        await asyncio.to_thread(self.process.wait_ready, self._answers, READY_S)

    def client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key="none", max_retries=0)

    async def gone(self, frozen: bool) -> None:
        """Wait until it has killed, or frozen, itself."""
        async with asyncio.timeout(LONGEST_S):
            while self.process.running and not (frozen and self._is_frozen()):  # noqa: ASYNC110  # no event
                await asyncio.sleep(0.05)

    def _is_frozen(self) -> bool:
        return bool(psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED)

    def _answers(self) -> bool:
        return any(
            each.laddr.port == self.port and each.status == psutil.CONN_LISTEN
            for each in psutil.Process(self.process.pid).net_connections()
        )


@asynccontextmanager
async def serving(*args: Any) -> AsyncIterator[Server]:
    """A server, ready; killed at the end."""
    server = await asyncio.to_thread(Server, *args)
    try:
        await server.ready()
        yield server
    finally:
        await asyncio.to_thread(server.process.kill)


async def carry_out(point: Point, place: Place) -> Case:
    """Raises `TimeoutError` where the batch does not end."""
    number = POINTS.index(point) + 1
    storage = place.folder / f"files-{number}"
    environment = {
        "PELTON_KAFKA__GROUP_ID": f"servers-{number}",
        "PELTON_SERVE__BATCHES_TOPIC": f"batches-{number}",
        "PELTON_SERVE__STORAGE": str(storage),
        **(SLOWLY if point.cancels else {}),
    }
    case = Case(point)
    async with serving(f"dying-{number}", place, environment, number) as dying, dying.client() as client:
        with contextlib.suppress(openai.APIConnectionError, openai.APITimeoutError):
            await _order(client, point, place.lines)
        await dying.gone(point.freezes)
        died_at = time.monotonic()
        async with serving(f"successor-{number}", place, environment) as successor, successor.client() as looking:
            batch, files = await _ended(looking)
            case.batch_id, case.took_s = batch.id, time.monotonic() - died_at
            if point.freezes:
                os.kill(dying.process.pid, signal.SIGCONT)
                await asyncio.sleep(THAWED_S)
                again, same = await _ended(looking)
                if (again, same) != (batch, files):
                    case.wrong.append(f"the thawed server has changed it: {again}")
            case.wrong += faults(point, place.lines, batch, *files)
            known = {batch.input_file_id, batch.output_file_id, batch.error_file_id}
            case.wrong += await _cleared(storage, known)
    return case


async def _order(client: openai.AsyncOpenAI, point: Point, lines: int) -> None:
    uploaded = await client.files.create(file=("in.jsonl", batch_lines(lines)), purpose="batch")
    batch = await client.batches.create(
        input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    while point.cancels:
        if (await client.batches.retrieve(batch.id)).request_counts.completed:
            await client.batches.cancel(batch.id)
            return
        await asyncio.sleep(0.05)


async def _ended(client: openai.AsyncOpenAI) -> tuple[Any, list[bytes]]:
    """The one batch that there is, when it has ended, and its two files."""
    async with asyncio.timeout(LONGEST_S):
        while True:
            batches = (await client.batches.list()).data
            if batches and batches[0].status in ENDED:
                break
            await asyncio.sleep(0.2)
    ids = (batches[0].output_file_id, batches[0].error_file_id)
    return batches[0], [(await client.files.content(each)).content if each else b"" for each in ids]


async def _cleared(storage: Path, known: set[str]) -> list[str]:
    """What is left of the work when the batch has ended: it goes a moment after the end is told."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while list(leftovers(storage, known)):  # noqa: ASYNC110  # no event
                await asyncio.sleep(0.1)
    return list(leftovers(storage, known))
