"""What the pipeline itself can carry: a worker with an engine that takes no time, beside a bare echo consumer.

    python -m benchmarks.pipeline [--requests N] [--runs N]

Every run publishes the requests first, starts the process, and counts replies from the first to the last, once for the
worker and once for the echo (`support/bare_consumer.py`), in turn. The broker, the processes and the reader share
this machine's cores. Prints a table and the same as JSON.
"""

import argparse
import asyncio

from benchmarks.support.common import PARTITIONS, Measurement, publish, replies_per_s, report_two
from pelton.stack.stack import LocalStack, StackConfig
from pelton.workers.kafka.topics import ensure_topics

REPLIES_S = 120


async def measure(name: str, bootstrap: str, run: int, requests: int) -> float:
    """Replies per second of one run of `name`."""
    this = Measurement.new(bootstrap, f"{name}-{run}")
    await ensure_topics(this.kafka)
    await publish(this.kafka, range(requests))
    async with this.reader() as reader, this.worker() if name == "worker" else this.echo():
        async with asyncio.timeout(REPLIES_S):
            return await replies_per_s(reader, requests)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    rates: dict[str, list[float]] = {"worker": [], "echo": []}
    with LocalStack(StackConfig()) as stack:
        for run in range(asked.runs):
            for name, measured in rates.items():
                measured.append(asyncio.run(measure(name, stack.kafka.bootstrap_servers, run, asked.requests)))
    report_two(f"{asked.requests} requests, {PARTITIONS} partitions", "replies/s", rates)


if __name__ == "__main__":
    main()
