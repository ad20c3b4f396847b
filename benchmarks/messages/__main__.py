"""Messages per second: a Pelton worker beside FastStream, Celery and a plain aiokafka loop.

    python -m benchmarks.messages [--requests N] [--runs N]

One broker, the same bodies, one process each, in turn within each run; the requests lie there before a process starts,
and replies are counted from the first to the last. Pelton has the simulated engine at 0 ms and delivers exactly once.
FastStream echoes the body and acknowledges after the reply, with the `max_workers` that was fastest of several tried
first. Celery echoes through Valkey as its broker and for results, acknowledging late, with the faster of two pools. The
plain loop echoes and commits every 50 ms, so a crash repeats its answers. FastStream and Celery need the extra `bench`;
without it their rows say so. Prints a table and the same as JSON.
"""

import argparse
import asyncio
import statistics
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import orjson
from rich.table import Table

from benchmarks.messages import contenders
from benchmarks.support.common import PARTITIONS, WIDE
from pelton.stack.stack import LocalStack, StackConfig

PELTON, FASTSTREAM, CELERY, PLAIN = (
    "Pelton, exactly once",
    "FastStream, ack after reply",
    "Celery",
    "plain aiokafka loop",
)
MAX_WORKERS = (1, 4, PARTITIONS)
TRIED = 2_000
"""Requests of each setting that is tried, and of what warms the broker."""
ABSENT = "not installed: pip install 'pelton[bench]'"

Contender = Callable[[str], Awaitable[float]]
"""Messages per second of a measurement of this name."""


async def tried_settings(bootstrap: str, redis_url: str) -> dict[str, dict[str, float]]:
    """Messages per second of each rival that is installed, once with each of its settings."""
    found: dict[str, dict[str, float]] = {}
    if contenders.installed("faststream"):
        found[FASTSTREAM] = {
            str(workers): await contenders.faststream(bootstrap, f"tried-{workers}", TRIED, workers)
            for workers in MAX_WORKERS
        }
    if contenders.installed("celery"):
        found[CELERY] = {pool: await contenders.celery(redis_url, TRIED, pool) for pool in contenders.CELERY_POOLS}
    return found


def taking_part(bootstrap: str, redis_url: str, requests: int, best: dict[str, str]) -> dict[str, Contender]:
    """Everybody that is installed, each with its best setting."""
    found: dict[str, Contender] = {PELTON: lambda name: contenders.pelton(bootstrap, name, requests)}
    if FASTSTREAM in best:
        found[FASTSTREAM] = lambda name: contenders.faststream(bootstrap, name, requests, int(best[FASTSTREAM]))
    if CELERY in best:
        found[CELERY] = lambda _: contenders.celery(redis_url, requests, best[CELERY])
    found[PLAIN] = lambda name: contenders.plain_loop(bootstrap, name, requests)
    return found


def measure(stack: LocalStack, requests: int, runs: int) -> dict[str, Any]:
    where = stack.kafka.bootstrap_servers, stack.valkey.url.removesuffix("/0")
    asyncio.run(contenders.pelton(where[0], "warming", TRIED))
    tried = asyncio.run(tried_settings(*where))
    best = {name: max(rates, key=rates.__getitem__) for name, rates in tried.items()}
    part = taking_part(*where, requests, best)
    rates: dict[str, list[float]] = {name: [] for name in part}
    for run in range(runs):
        for number, (name, contender) in enumerate(part.items()):
            rates[name].append(asyncio.run(_once(partial(contender, f"messages-{number}-{run}"))))
    medians = {name: statistics.median(measured) for name, measured in rates.items()}
    return {
        "requests": requests,
        "messages_per_s": rates,
        "tried_first": tried,
        "times_faststream": medians[PELTON] / medians[FASTSTREAM] if FASTSTREAM in medians else None,
        "times_celery": medians[PELTON] / medians[CELERY] if CELERY in medians else None,
        "share_of_plain_loop": medians[PELTON] / medians[PLAIN],
    }


async def _once(contender: Callable[[], Awaitable[float]]) -> float:
    return await contender()


def report(found: dict[str, Any]) -> None:
    title = f"{found['requests']:,} requests of 560 bytes, {PARTITIONS} partitions, one process each"
    table = Table("", "messages/s (median)", "runs", "Pelton is", title=title)
    rates = found["messages_per_s"]
    ours = statistics.median(rates[PELTON])
    for name in (PELTON, FASTSTREAM, CELERY, PLAIN):
        if name not in rates:
            table.add_row(name, ABSENT)
            continue
        median = statistics.median(rates[name])
        cells = f"{median:,.0f}", " ".join(f"{rate:,.0f}" for rate in rates[name]), f"{ours / median:.2f}x"
        table.add_row(name, *cells)
    WIDE.print(table)
    for name, tried in found["tried_first"].items():
        WIDE.print(f"{name}, tried first:", ", ".join(f"{how}: {rate:,.0f}/s" for how, rate in tried.items()))
    print(orjson.dumps(found).decode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    with LocalStack(StackConfig()) as stack:
        found = measure(stack, asked.requests, asked.runs)
    report(found)


if __name__ == "__main__":
    main()
