"""Real processes: `pelton` as a user starts it, on topics of each test's own."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import orjson
import pytest

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.stack.kafka import KafkaConfig, KafkaServer
from pelton.stack.process import ChildProcess

PARTITIONS = 4
SESSION_MS = 6_000
READY_S = 200
GRACE_S = 40
WORKER = (sys.executable, "-P", "-m", "pelton", "worker")


class Pelton:
    """The command, with settings that lead it to a broker and to topics that no other test uses."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        name = uuid.uuid4().hex[:8]
        self.folder = folder
        self.requests, self.replies = f"requests-{name}", f"replies-{name}"
        self.environment = {
            "PELTON_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
            "PELTON_KAFKA__GROUP_ID": f"group-{name}",
            "PELTON_KAFKA__REQUEST_TOPICS": orjson.dumps([self.requests]).decode(),
            "PELTON_KAFKA__REPLY_TOPIC": self.replies,
            "PELTON_KAFKA__CREATE_TOPICS": "true",
            "PELTON_KAFKA__PARTITIONS": str(PARTITIONS),
            "PELTON_KAFKA__SESSION_TIMEOUT_MS": str(SESSION_MS),
        }
        self.workers: list[ChildProcess] = []

    def kafka_settings(self) -> KafkaSettings:
        """The same settings for a test's own clients."""
        return KafkaSettings(
            bootstrap_servers=self.environment["PELTON_KAFKA__BOOTSTRAP_SERVERS"],
            group_id=self.environment["PELTON_KAFKA__GROUP_ID"],
            request_topics=(self.requests,),
            reply_topic=self.replies,
            create_topics=True,
            partitions=PARTITIONS,
            session_timeout_ms=SESSION_MS,
        )

    def start_worker(self, command: Sequence[str] = WORKER, **settings: str) -> ChildProcess:
        """A worker process, ready."""
        worker = self.launch_worker(command, **settings)
        self.await_ready(worker)
        return worker

    def await_ready(self, worker: ChildProcess) -> None:
        worker.wait_ready(self._ready_file(self.workers.index(worker)).exists, READY_S)

    def launch_worker(self, command: Sequence[str] = WORKER, **settings: str) -> ChildProcess:
        """A worker process, just started."""
        number = len(self.workers)
        worker = ChildProcess(
            f"worker {number}",
            command,
            log_file=self.folder / f"worker-{number}.log",
            grace_s=GRACE_S,
            environment={
                **self.environment,
                "PELTON_WORKER__READY_FILE": str(self._ready_file(number)),
                **settings,
            },
        )
        self.workers.append(worker)
        return worker

    def _ready_file(self, number: int) -> Path:
        return self.folder / f"ready-{number}"

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "pelton", *arguments],
            env={**os.environ, **self.environment, **settings},
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "pelton", *arguments],
            env={**os.environ, **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def log(self, worker: int = 0) -> str:
        return (self.folder / f"worker-{worker}.log").read_text()

    def close(self) -> None:
        for worker in self.workers:
            worker.stop()


@pytest.fixture
def server() -> Iterator[KafkaServer]:
    """One that nobody else uses, to be frozen or killed. `kafka_bootstrap` leads to it where a module says so."""
    with KafkaServer(KafkaConfig()) as server:
        yield server


@pytest.fixture
def pelton(kafka_bootstrap: str, tmp_path: Path) -> Iterator[Pelton]:
    made = Pelton(kafka_bootstrap, tmp_path)
    yield made
    made.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool], float], None]:
    """Wait for what another process does, which no event here can tell of."""

    def wait(holds: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > deadline:
                pytest.fail(f"not so within {timeout_s} s")
            time.sleep(0.05)

    return wait
