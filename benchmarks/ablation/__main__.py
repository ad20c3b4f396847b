"""What each technique buys: the same requests served in ever better ways, each adding one thing to the last.

    python -m benchmarks.ablation [--requests N] [--html FILE]

Serial loop, decoupled I/O, padded batches, continuous batching, prefix cache, bfloat16, int8 weights, reply cache:
with the default model (SmolLM2-135M), over one broker. Prompts begin alike, differ in length, ask for 8 to 48 tokens,
and a quarter of them are repeats. Each stage starts anew, answers some others first, and then gets all requests at
once; the clock runs from their being sent to the last committed reply, so a latency is the wait in a full queue.
Tokens are those that its replies hold, whoever computed them. The figures that the ideas were published with stand
beside: of other models on other machines, for the order of a gain and not for comparison.

Prints a table and the same as JSON.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from rich.table import Table

from benchmarks.ablation.stages import SERIAL, STAGES, Stage, not_here
from benchmarks.ablation.workload import Question, questions
from benchmarks.reporting.page import Part, paragraphs, write_page
from benchmarks.support.common import GRACE_S, WIDE, Measurement
from pelton.stack.process import ChildProcess
from pelton.stack.stack import LocalStack, StackConfig
from pelton.workers.kafka.topics import ensure_topics

EARLIER = 4
"""Others, answered before the clock runs: memory and compilers are warm, and no beginning is known."""
STAGE_S = 900
COLUMNS = ("technique added", "tokens/s", "x the last", "x serial", "p50 s", "p95 s", "published with", "source")


@dataclass(frozen=True, slots=True)
class Found:
    """One stage's; all of it None where this machine cannot show it, as `reason` says."""

    stage: Stage
    tokens_per_s: float | None = None
    p50_s: float | None = None
    p95_s: float | None = None
    reason: str | None = None


async def measure(bootstrap: str, stage: Stage, settings: dict[str, str], asked: list[Question]) -> Found:
    this = Measurement.new(bootstrap, stage.name.replace(" ", "-").replace("/", ""))
    await ensure_topics(this.kafka)
    serving = _serial_loop(this) if stage.name == SERIAL else _worker(this, settings)
    async with (
        this.reader() as reader,
        AIOKafkaProducer(bootstrap_servers=bootstrap) as producer,
        asyncio.timeout(STAGE_S),
        serving,
    ):
        await _publish(producer, this, questions(EARLIER, seed=1))
        await _read(reader, EARLIER)
        began = time.perf_counter()
        await _publish(producer, this, asked)
        latencies, tokens = await _read(reader, len(asked), began)
    cuts = statistics.quantiles(latencies, n=20)
    return Found(stage, tokens / latencies[-1], statistics.median(latencies), cuts[18])


@asynccontextmanager
async def _worker(this: Measurement, settings: dict[str, str]) -> AsyncIterator[None]:
    async with this.worker(**settings):
        yield


@asynccontextmanager
async def _serial_loop(this: Measurement) -> AsyncIterator[None]:
    topics = [this.kafka.bootstrap_servers, this.kafka.request_topics[0], this.kafka.reply_topic]
    command = [sys.executable, str(Path(__file__).with_name("serial_loop.py")), *topics]
    with tempfile.TemporaryDirectory() as folder:
        process = ChildProcess("The serial loop", command, log_file=Path(folder) / "log", grace_s=GRACE_S)
        try:
            yield
            process.check()
        finally:
            await asyncio.to_thread(process.stop)


async def _publish(producer: AIOKafkaProducer, this: Measurement, asked: list[Question]) -> None:
    for number, question in enumerate(asked):
        headers = [("kafka_correlationId", f"{number}-{time.monotonic_ns()}".encode())]
        await producer.send(this.kafka.request_topics[0], question.body(), headers=headers)
    await producer.flush()


async def _read(reader: AIOKafkaConsumer, replies: int, began: float = 0.0) -> tuple[list[float], int]:
    """Seconds from `began` to each reply, and the tokens that all of them hold. Raises RuntimeError for an error."""
    latencies: list[float] = []
    tokens = 0
    while len(latencies) < replies:
        for records in (await reader.getmany(timeout_ms=200)).values():
            for record in records:
                answer = orjson.loads(record.value)
                if "choices" not in answer:
                    raise RuntimeError(f"an error in place of an answer: {answer}")
                tokens += answer["usage"]["completion_tokens"]
                latencies.append(time.perf_counter() - began)
    return latencies, tokens


def climb(bootstrap: str, requests: int) -> list[Found]:
    """One stage after the other. What a stage adds stays for those after it."""
    asked = questions(requests)
    settings: dict[str, str] = {}
    found: list[Found] = []
    for stage in STAGES:
        settings |= stage.settings or {}
        reason = not_here(stage)
        if reason is not None:
            found.append(Found(stage, reason=reason))
            continue
        try:
            found.append(asyncio.run(measure(bootstrap, stage, settings, asked)))
        except TimeoutError:
            found.append(Found(stage, reason=f"not done within {STAGE_S} s"))
        print(f"{stage.name}: {found[-1].tokens_per_s or found[-1].reason}", file=sys.stderr)
    return found


def rows(found: list[Found]) -> list[list[str]]:
    shown: list[list[str]] = []
    first = last = None
    for each in found:
        if each.tokens_per_s is None or each.p50_s is None or each.p95_s is None:
            shown.append([each.stage.name, each.reason or "", "", "", "", "", each.stage.published, each.stage.source])
            continue
        first = first or each.tokens_per_s
        gain = f"{each.tokens_per_s / last:.2f}x" if last else ""
        times = [f"{each.tokens_per_s / first:.2f}x", f"{each.p50_s:.1f}", f"{each.p95_s:.1f}"]
        cells = [each.stage.name, f"{each.tokens_per_s:.1f}", gain, *times]
        shown.append([*cells, each.stage.published, each.stage.source])
        last = each.tokens_per_s
    return shown


def part(found: list[Found]) -> Part:
    """The page's."""
    told = paragraphs(__doc__)
    return Part("Ablation", told, COLUMNS, rows(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--html", type=Path, help="write a page")
    asked = parser.parse_args()
    with LocalStack(StackConfig()) as stack:
        found = climb(stack.kafka.bootstrap_servers, asked.requests)
    table = Table(*COLUMNS, title=f"{asked.requests} requests, SmolLM2-135M", show_lines=True)
    for row in rows(found):
        table.add_row(*row)
    WIDE.print(table)
    if asked.html:
        write_page(asked.html, "Ablation", [part(found)])
    told: list[dict[str, Any]] = [
        {
            "technique": each.stage.name,
            "tokens_per_s": each.tokens_per_s,
            "p50_s": each.p50_s,
            "p95_s": each.p95_s,
            "not_measured": each.reason,
        }
        for each in found
    ]
    print(orjson.dumps({"requests": asked.requests, "stages": told}).decode())


if __name__ == "__main__":
    main()
