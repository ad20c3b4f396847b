"""A server on topics of a test's own, reached with OpenAI's own client."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from pelton.pipeline.settings.loading import Settings
from pelton.pipeline.tracing.spans import Traces
from pelton.producers.http.server import serve_http
from pelton.stack.ports import free_port

KEY = "sk-a-key"


class Server:
    """One process's worth of `pelton serve`, in this process."""

    def __init__(self, settings: Settings, storage: Path | str, **serve: Any) -> None:
        self.port = free_port()
        changes = {"port": self.port, "storage": str(storage), "batches_topic": f"{settings.kafka.group_id}-batches"}
        self.settings = settings.model_copy(update={"serve": settings.serve.model_copy(update={**changes, **serve})})

    @asynccontextmanager
    async def running(self, traces: Traces | None = None) -> AsyncIterator["Server"]:
        task = asyncio.create_task(serve_http(self.settings, traces))
        try:
            await self._until_it_answers(task)
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _until_it_answers(self, task: asyncio.Task[None]) -> None:
        async with asyncio.timeout(60):
            while not task.done():
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    await writer.wait_closed()
                    return
        task.result()

    def client(self, key: str = KEY) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=key, max_retries=0)


@pytest.fixture
def server() -> type[Server]:
    """Makes a server: `server(at.settings, tmp_path)`."""
    return Server


@pytest.fixture
def keys_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of API keys, by tenant."""

    def write(**keys: str) -> Path:
        path = tmp_path / "keys"
        lines = (f"{tenant} {hashlib.sha256(key.encode()).hexdigest()}\n" for tenant, key in keys.items())
        path.write_text("# tenants\n" + "".join(lines))
        return path

    return write
