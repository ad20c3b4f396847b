"""Some points at a time, with one worker for all of them; then a look at what was sent."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from pelton.pipeline.wire import contract
from pelton.stack.process import ChildProcess
from tests.serve_chaos.case import READY_S, Case, Place, carry_out
from tests.serve_chaos.points import Point
from tests.serve_chaos.verdict import sent_twice

REQUESTS, REPLIES = "serve-chaos.requests", "serve-chaos.replies"
TOPICS = {
    "PELTON_KAFKA__REQUEST_TOPICS": f'["{REQUESTS}"]',
    "PELTON_KAFKA__REPLY_TOPIC": REPLIES,
    "PELTON_KAFKA__CREATE_TOPICS": "true",
    "PELTON_KAFKA__PARTITIONS": "4",
    "PELTON_KAFKA__SESSION_TIMEOUT_MS": "6000",
}
ENGINE = {
    "PELTON_ENGINE__KIND": "simulated",
    "PELTON_ENGINE__SIMULATED__TTFT_MS": "5",
    "PELTON_ENGINE__SIMULATED__ITL_MS": "1",
    "PELTON_ENGINE__SIMULATED__MEAN_OUTPUT_TOKENS": "8",
    "PELTON_CACHE__ENABLED": "false",
}


async def run_all(  # noqa: PLR0913  # where, what and how much, each by name
    stack: Mapping[str, str],
    points: Sequence[Point],
    folder: Path,
    *,
    lines: int,
    parallel: int,
    on_end: Callable[[Case], None] = lambda _: None,
) -> list[Case]:
    """`stack` are the settings that lead to Kafka; the logs of all processes are in `folder` afterwards.

    `on_end` is called for each case as it ends; only afterwards it is looked at what was sent twice.
    """
    environment = {**stack, **TOPICS}
    place = Place(environment, folder, lines)
    turns = asyncio.Semaphore(parallel)

    async def one(point: Point) -> Case:
        async with turns:
            try:
                case = await carry_out(point, place)
            except TimeoutError:
                case = Case(point, wrong=["the batch does not end"])
        on_end(case)
        return case

    async with working(environment, folder):
        cases = await asyncio.gather(*(one(point) for point in points))
    sent = await _sent(environment["PELTON_KAFKA__BOOTSTRAP_SERVERS"])
    for case in cases:
        if case.batch_id:
            case.wrong += sent_twice(case.batch_id, sent)
    return cases


@asynccontextmanager
async def working(environment: Mapping[str, str], folder: Path) -> AsyncIterator[None]:
    """A worker process, ready; drained at the end."""
    ready = folder / "worker.ready"
    settings = {**environment, **ENGINE, "PELTON_WORKER__READY_FILE": str(ready)}
    command = [sys.executable, "-P", "-m", "pelton", "worker"]
    process = ChildProcess("The worker", command, log_file=folder / "worker.log", grace_s=40, environment=settings)
    try:
        await asyncio.to_thread(process.wait_ready, ready.exists, READY_S)
        yield
    finally:
        await asyncio.to_thread(process.stop)


async def _sent(bootstrap: str) -> Counter[bytes]:
    """How often each request was committed, by correlation id."""
    found: Counter[bytes] = Counter()
    reader = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await reader.start()
    try:
        places = [TopicPartition(REQUESTS, partition) for partition in range(4)]
        reader.assign(places)
        ends = await reader.end_offsets(places)
        while [place for place, end in ends.items() if await reader.position(place) < end]:
            for records in (await reader.getmany(timeout_ms=200)).values():
                found.update(dict(record.headers)[contract.CORRELATION_ID] for record in records)
    finally:
        await reader.stop()
    return found
