"""What is monitored: Kafka, Valkey, two workers, the exporter of the backlog, and a steady load.

One worker is simulated and breaks when asked to; the other computes with a real model, in so little memory for its KV
pages that requests lose theirs.
"""

import asyncio
import contextlib
import itertools
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pelton.stack.ports import LOOPBACK, free_port
from pelton.stack.process import ChildProcess
from pelton.stack.stack import LocalStack
from tests.faulty.worker import COMMAND as FAULTY

PELTON = [sys.executable, "-P", "-m", "pelton"]
PORTS = ("simulated", "model", "backlog")
GRACE_S = 40
PACE_S = 0.4
SLOW = {"TTFT_MS": "10", "ITL_MS": "25", "MAX_RUNNING": "4"}
"""Some six answers a second."""
QUICK = {"TTFT_MS": "0", "ITL_MS": "0", "ITL_MS_PER_ROW": "0", "MAX_RUNNING": "256"}
MODEL = {
    "PELTON_ENGINE__KIND": "continuous",
    "PELTON_ENGINE__KV_MEMORY_GIB": "0.02",
    "PELTON_ENGINE__MAX_RUNNING": "16",
    "PELTON_MODEL__DEVICE": "cpu",
}


def simulated(speed: Mapping[str, str]) -> dict[str, str]:
    """The engine's settings as variables."""
    return {
        "PELTON_ENGINE__KIND": "simulated",
        "PELTON_WORKER__STALL_TIMEOUT_S": "20",
        "PELTON_WORKER__RETRY_BACKOFF_MS": "1",
        **{f"PELTON_ENGINE__SIMULATED__{name}": value for name, value in speed.items()},
    }


@dataclass
class Scene:
    """Starts and stops what runs."""

    stack: LocalStack
    folder: Path
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in PORTS})

    @property
    def targets(self) -> list[str]:
        return [f"{LOOPBACK}:{port}" for port in self.ports.values()]

    def environment(self, name: str) -> dict[str, str]:
        return {
            **self.stack.env,
            "PELTON_KAFKA__PARTITIONS": "2",
            "PELTON_KAFKA__GROUP_ID": name,
            "PELTON_KAFKA__REQUEST_TOPICS": orjson.dumps([f"{name}-requests"]).decode(),
            "PELTON_KAFKA__REPLY_TOPIC": f"{name}-replies",
            "PELTON_KAFKA__SESSION_TIMEOUT_MS": "6000",
            "PELTON_WORKER__METRICS_PORT": str(self.ports.get(name, 0)),
        }

    @asynccontextmanager
    async def worker(self, name: str, command: list[str], settings: Mapping[str, str]) -> AsyncIterator[ChildProcess]:
        """A worker process and its parent; ready."""
        ready = self.folder / f"{name}-ready"
        ready.unlink(missing_ok=True)
        settings = {**self.environment(name), **settings, "PELTON_WORKER__READY_FILE": str(ready)}
        process = ChildProcess(
            f"The {name} worker", command, log_file=self.folder / f"{name}.log", grace_s=GRACE_S, environment=settings
        )
        try:
            await asyncio.to_thread(process.wait_ready, ready.exists, 90)
            yield process
        finally:
            await asyncio.to_thread(process.stop)

    def broken_by_request(self, speed: Mapping[str, str] = SLOW) -> Any:
        """The worker with the simulated engine."""
        return self.worker("simulated", FAULTY, simulated(speed))

    def with_model(self) -> Any:
        """The worker with the real model."""
        return self.worker("model", [*PELTON, "worker"], MODEL)

    @asynccontextmanager
    async def exporter(self) -> AsyncIterator[None]:
        """`pelton backlog --serve`."""
        command = [*PELTON, "backlog", "--serve", str(self.ports["backlog"]), "--interval", "1"]
        process = ChildProcess(
            "The exporter",
            command,
            log_file=self.folder / "backlog.log",
            grace_s=5,
            environment=self.environment("simulated"),
        )
        try:
            yield
        finally:
            await asyncio.to_thread(process.stop)


class Load:
    """Requests, steady and otherwise. While Kafka is away nothing is sent."""

    def __init__(self, bootstrap: str) -> None:
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap, request_timeout_ms=5_000)
        self._numbers = itertools.count()

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        with contextlib.suppress(KafkaError):
            await self._producer.stop()

    async def send(self, name: str, content: str, count: int = 1, **fields: Any) -> None:
        """So many requests to a worker, each another."""
        for _ in range(count):
            text = f"{content} {next(self._numbers)}"
            body = {"model": "default", "messages": [{"role": "user", "content": text}], **fields}
            await self._producer.send(f"{name}-requests", orjson.dumps(body))
        await self._producer.flush()

    async def run(self) -> None:
        """For ever: to the simulated worker new questions and repeated ones, to the model long answers."""
        for number in itertools.count():
            with contextlib.suppress(KafkaError):
                await self.send("simulated", "question")
                await self._repeat("simulated", f"again {number // 3}")
                await self.send("model", "Tell me a story.", max_tokens=120, ignore_eos=True)
            await asyncio.sleep(PACE_S)

    async def _repeat(self, name: str, text: str) -> None:
        body = {"model": "default", "temperature": 0, "messages": [{"role": "user", "content": text}]}
        await self._producer.send_and_wait(f"{name}-requests", orjson.dumps(body))
