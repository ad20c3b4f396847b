"""A worker, a client and the HTTP server under steady load for a long time: does memory grow, do they leave in order?

    python -m benchmarks.soak [--minutes N] [--rate N] [--html FILE]

The client sends so many requests a second, each another one, a tenth of them over HTTP; the simulated engine answers.
Memory (RSS) is looked at every two seconds. The first third is left to caches that fill, which are kept small so that
they are full by then; over the rest, each process's growth is the slope of Theil and Sen: the median of the slopes
between samples, which no single peak moves. It must stay below 5 MiB an hour or, where so little time is looked at
that this is nothing, below 1 MiB. At the end SIGTERM goes to worker and server: both must end with 0, and no request
may have failed.

Exits with 1 where any of this does not hold.
"""

import argparse
import asyncio
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.reporting.page import Part, paragraphs, write_page
from benchmarks.reporting.plots import lines
from benchmarks.reporting.resources import Usage, watched
from benchmarks.support.common import GRACE_S, WIDE, Measurement, body
from pelton.producers.client import InferenceClient
from pelton.stack.ports import free_port
from pelton.stack.process import ChildProcess
from pelton.stack.stack import LocalStack, StackConfig
from pelton.workers.kafka.topics import ensure_topics

BOUND_MIB_PER_H = 5.0
BOUND_MIB = 1.0
LOOK_S = 2.0
REPLY_S = 60
READY_S = 30
HTTP_SHARE = 10
"""One request in so many goes over HTTP."""
SETTLED = 1 / 3
"""The share of the time after which memory has to be flat."""
SMALL_CACHE = {"PELTON_CACHE__LOCAL_BYTES": "2000000", "PELTON_CACHE__LOCAL_TTL_S": "60"}
COLUMNS = ("process", "MiB settled", "MiB at the end", "growth MiB/h", "flat below", "cores", "exit status")


@dataclass(slots=True)
class Soak:
    """What was seen."""

    answered: int = 0
    errors: list[str] = field(default_factory=list)
    usage: dict[str, Usage] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        flat = all(slope_mib_per_h(usage) <= bound_mib_per_h(usage) for usage in self.usage.values())
        return flat and not self.errors and not any(self.statuses.values())


def settled(usage: Usage) -> tuple[list[float], list[float]]:
    """Times and memory from when it has to be flat."""
    since = usage.at_s[-1] * SETTLED
    first = next(index for index, at_s in enumerate(usage.at_s) if at_s >= since)
    return usage.at_s[first:], usage.rss_mib[first:]


def slope_mib_per_h(usage: Usage) -> float:
    """Theil and Sen's: the median slope between samples that lie at least a quarter of the time apart."""
    at_s, rss_mib = settled(usage)
    least = (at_s[-1] - at_s[0]) / 4
    pairs = itertools.combinations(zip(at_s, rss_mib, strict=True), 2)
    slopes = [
        (after - before) / (later - sooner) for (sooner, before), (later, after) in pairs if later - sooner > least
    ]
    return statistics.median(slopes) * 3600 if slopes else 0.0


def bound_mib_per_h(usage: Usage) -> float:
    """The slope that is flat."""
    at_s, _ = settled(usage)
    looked_h = (at_s[-1] - at_s[0]) / 3600
    return max(BOUND_MIB_PER_H, BOUND_MIB / looked_h) if looked_h else BOUND_MIB_PER_H


@asynccontextmanager
async def server(this: Measurement, folder: Path) -> AsyncIterator[tuple[ChildProcess, str]]:
    """`pelton serve` and the URL of its chat completions."""
    port = free_port()
    command = [sys.executable, "-P", "-m", "pelton", "serve", "--port", str(port)]
    environment = {
        "PELTON_KAFKA__BOOTSTRAP_SERVERS": this.kafka.bootstrap_servers,
        "PELTON_KAFKA__REQUEST_TOPICS": orjson.dumps(this.kafka.request_topics).decode(),
        "PELTON_KAFKA__REPLY_TOPIC": this.kafka.reply_topic,
        "PELTON_KAFKA__CREATE_TOPICS": "true",
        "PELTON_SERVE__STORAGE": str(folder / "files"),
    }
    log = folder / "serve.log"
    process = ChildProcess("The server", command, log_file=log, grace_s=GRACE_S, environment=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        await _wait_ready(process, f"{url}/v1/models")
        yield process, f"{url}/v1/chat/completions"
    finally:
        await asyncio.to_thread(process.stop)


async def _wait_ready(process: ChildProcess, url: str) -> None:
    async with asyncio.timeout(READY_S), aiohttp.ClientSession() as session:
        while True:
            process.check()
            try:
                async with session.get(url) as answer:
                    if answer.ok:
                        return
            except aiohttp.ClientError:
                await asyncio.sleep(0.2)


async def soak(bootstrap: str, minutes: float, rate: float, folder: Path) -> Soak:
    this, found = Measurement.new(bootstrap, "soak"), Soak()
    await ensure_topics(this.kafka)
    async with (
        this.worker(**SMALL_CACHE) as (worker, _),
        server(this, folder) as (serving, url),
        InferenceClient(this.kafka) as client,
        aiohttp.ClientSession() as session,
    ):
        pids = {"worker": worker.pid, "server": serving.pid, "client": os.getpid()}
        async with watched(pids, LOOK_S) as found.usage, asyncio.TaskGroup() as asking:
            began = time.perf_counter()
            for number in range(int(60 * minutes * rate)):
                await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
                over_http = number % HTTP_SHARE == 0
                asking.create_task(_counted(found, _post(session, url, number) if over_http else _ask(client, number)))
        found.statuses = {
            "worker": await asyncio.to_thread(worker.stop),
            "server": await asyncio.to_thread(serving.stop),
        }
    return found


async def _counted(found: Soak, asking: Any) -> None:
    try:
        async with asyncio.timeout(REPLY_S):
            await asking
        found.answered += 1
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what is counted
        found.errors.append(repr(error))


async def _ask(client: InferenceClient, number: int) -> None:
    (await client.request(body(number))).completion()


async def _post(session: aiohttp.ClientSession, url: str, number: int) -> None:
    async with session.post(url, data=body(number), headers={"content-type": "application/json"}) as answer:
        answer.raise_for_status()
        await answer.read()


def rows(found: Soak) -> list[list[str]]:
    shown = []
    for name, usage in found.usage.items():
        _, rss_mib = settled(usage)
        status = str(found.statuses.get(name, ""))
        memory = f"{rss_mib[0]:.1f}", f"{rss_mib[-1]:.1f}", f"{slope_mib_per_h(usage):+.1f}"
        shown.append([name, *memory, f"{bound_mib_per_h(usage):.1f}", f"{usage.mean_cores:.2f}", status])
    return shown


def part(found: Soak) -> Part:
    """The page's."""
    told = paragraphs(__doc__)
    memory = {name: (usage.at_s, usage.rss_mib) for name, usage in found.usage.items()}
    return Part("Soak", told, COLUMNS, rows(found), [lines("Memory", "s", "MiB (RSS)", memory)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=50, help="requests a second")
    parser.add_argument("--html", type=Path, help="write a page with a plot")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, LocalStack(StackConfig()) as stack:
        found = asyncio.run(soak(stack.kafka.bootstrap_servers, asked.minutes, asked.rate, Path(folder)))
    title = f"{asked.minutes:g} minutes, {found.answered:,} answered, {len(found.errors)} errors"
    table = Table(*COLUMNS, title=title)
    for row in rows(found):
        table.add_row(*row)
    WIDE.print(table)
    for error in found.errors[:5]:
        Console(stderr=True).print(error)
    if asked.html:
        write_page(asked.html, "Soak", [part(found)])
    told: dict[str, Any] = {"answered": found.answered, "errors": len(found.errors), "exit_statuses": found.statuses}
    told["mib_per_h"] = {name: slope_mib_per_h(usage) for name, usage in found.usage.items()}
    print(orjson.dumps(told).decode())
    sys.exit(not found.sound)


if __name__ == "__main__":
    main()
