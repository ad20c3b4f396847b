"""Kafka, Valkey, a worker and the job service on this machine, for as long as one report takes."""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from pelton.pipeline.settings.loading import Settings, load_settings
from pelton.stack.process import ChildProcess
from pelton.stack.stack import LocalStack, StackConfig
from pelton.stages import stage

WORKER_READY_S = 300
SERVICE_READY_S = 60
GRACE_S = 40
"""A little more than the worker's own drain time-out."""


@contextmanager
def local_services(console: Console) -> Iterator[Settings]:
    """Yields the settings that lead to them. Raises `StackError`; nothing is left running."""
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="pelton-report-")))
        with stage(console, "Starting Kafka and Valkey …"):
            stack = cleanup.enter_context(LocalStack(StackConfig()))
        with stage(console, "Starting a worker: it loads the model and warms up …"):
            ready = {"PELTON_WORKER__READY_FILE": str(folder / "worker-ready")}
            worker = _start("worker", ["worker"], folder, stack.env | ready)
            cleanup.callback(worker.stop)
            worker.wait_ready((folder / "worker-ready").exists, WORKER_READY_S)
        with stage(console, "Starting the job service …"):
            ready = {"PELTON_REPORTS__READY_FILE": str(folder / "service-ready")}
            service = _start("service", ["reports", "serve"], folder, stack.env | ready)
            cleanup.callback(service.stop)
            service.wait_ready((folder / "service-ready").exists, SERVICE_READY_S)
        settings = load_settings()
        here = {"bootstrap_servers": stack.kafka.bootstrap_servers}
        yield settings.model_copy(update={"kafka": settings.kafka.model_copy(update=here)})


def _start(name: str, arguments: list[str], folder: Path, environment: Mapping[str, str]) -> ChildProcess:
    command = [sys.executable, "-m", "pelton", *arguments]
    return ChildProcess(
        f"The {name}", command, log_file=folder / f"{name}.log", grace_s=GRACE_S, environment=environment
    )
