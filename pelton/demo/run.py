"""The demo's course: start a broker, a cache and a worker, ask, measure, stop everything."""

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from pelton.demo.progress import Asking, samples, watching
from pelton.demo.questions import Question, questions
from pelton.demo.results import BatchStats, DemoResult, Exchange
from pelton.pipeline.settings.engine import ModelSettings
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers import InferenceClient, ReplyError, ReplyTimeout
from pelton.stack.ports import free_port
from pelton.stack.process import ChildProcess
from pelton.stack.stack import LocalStack, StackConfig
from pelton.stages import stage

WORKER_READY_S = 300
WORKER_GRACE_S = 40
"""A little more than the worker's own drain time-out."""
ANSWER_TIMEOUT_S = 600


def run_demo(requests: int, console: Console) -> DemoResult:
    """Run it all; `console` shows progress. Raises `StackError` and what the client raises; nothing is left running."""
    with ExitStack() as cleanup:
        try:
            return _run(requests, console, cleanup)
        except KeyboardInterrupt:
            console.print("Stopping …")  # what was started takes some seconds to end
            raise


def _run(requests: int, console: Console, cleanup: ExitStack) -> DemoResult:
    folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="pelton-demo-")))
    with stage(console, "Starting Kafka and Valkey …"):
        stack = cleanup.enter_context(LocalStack(StackConfig()))
    metrics_port = free_port()
    with stage(console, "Starting a worker: it loads the model and warms up …"):
        worker = _start_worker(folder, stack, metrics_port)
        cleanup.callback(worker.stop)
        worker.wait_ready((folder / "ready").exists, WORKER_READY_S)
    asked = questions(requests)
    started = time.monotonic()
    kafka = KafkaSettings(bootstrap_servers=stack.kafka.bootstrap_servers)
    with Asking(console, len(asked)).shown() as asking:
        exchanges = asyncio.run(_ask_all(kafka, asked, metrics_port, asking))
    seconds = time.monotonic() - started
    return DemoResult(ModelSettings().name, exchanges, seconds, _batch_stats(metrics_port))


def _start_worker(folder: Path, stack: LocalStack, metrics_port: int) -> ChildProcess:
    environment = {
        **stack.env,
        "PELTON_WORKER__READY_FILE": str(folder / "ready"),
        "PELTON_WORKER__METRICS_PORT": str(metrics_port),
    }
    command = [sys.executable, "-P", "-m", "pelton", "worker"]
    return ChildProcess(
        "The worker", command, log_file=folder / "worker.log", grace_s=WORKER_GRACE_S, environment=environment
    )


async def _ask_all(
    kafka: KafkaSettings, asked: Sequence[Question], metrics_port: int, asking: Asking
) -> list[Exchange]:
    """Ask everything at once: the queue is the broker's, the batching the worker's."""

    async def ask(client: InferenceClient, question: Question) -> Exchange:
        exchange = await _ask(client, question)
        asking.answered()
        return exchange

    async with InferenceClient(kafka) as client, watching(metrics_port, asking.show), asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(client, question)) for question in asked]
    return [task.result() for task in tasks]


async def _ask(client: InferenceClient, question: Question) -> Exchange:
    started = time.monotonic()
    try:
        reply = await client.request(question.body(), timeout_s=ANSWER_TIMEOUT_S)
        completion = reply.completion()
    except (ReplyError, ReplyTimeout) as error:
        return Exchange(question.text, question.gold, None, str(error), time.monotonic() - started, 0, 0)
    seconds = time.monotonic() - started
    answer, usage = (completion.choices[0].message.content or "").strip(), completion.usage
    return Exchange(question.text, question.gold, answer, None, seconds, usage.prompt_tokens, usage.completion_tokens)


def _batch_stats(metrics_port: int) -> BatchStats:
    found = samples(metrics_port)
    steps = found["pelton_batch_rows_count"] or 1
    return BatchStats(found["pelton_batch_rows_sum"] / steps, found["pelton_batch_fill_sum"] / steps)
