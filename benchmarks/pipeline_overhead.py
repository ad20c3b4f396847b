"""What the pipeline leaves of the engine's speed: the same requests offline and through Kafka.

    python -m benchmarks.pipeline_overhead [--requests N] [--minutes N]

Offline, the engine gets all requests at once, in a process of its own. Behind the pipeline they are published to a
worker at once. Both generate the same tokens with the same model (SmolLM2-135M), and both have answered others before,
so that memory, broker and compilers are warm. They have turns of a second each (`support/interleaved.py`); the broker
runs on the same cores all the time.

Measured is the steady state: generated tokens by the seconds of a contender's own turns, from as many answers as share
a step until the minutes are over, or until one has answered nine tenths of the requests. Before and after that, steps
compute nothing but prompts, or are not full. 32 share a step: on a few cores 64 take most of the time to get there.
Behind the pipeline an answer counts when its reply is committed, at the end of the time too, and commits come in
batches: so the clock begins and ends with one of them. Prints a table, with the rate of each third of the time, and the
same as JSON; the share is that of the whole.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from rich.table import Table

from benchmarks.support.common import WIDE, Measurement
from benchmarks.support.interleaved import Contender, begin, reports_in_turns, unwind_on_sigterm
from pelton.pipeline.paths import cache_dir
from pelton.pipeline.settings.engine import ModelSettings
from pelton.pipeline.wire.chat import ChatCompletion, Message
from pelton.stack.stack import LocalStack, StackConfig
from pelton.workers.engine import Engine, SamplingParams
from pelton.workers.engine.api import Completion, Outcome
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.model.loading import load
from pelton.workers.engine.model.spec import ModelSpec
from pelton.workers.kafka.topics import ensure_topics
from pelton.workers.prepare.tokenizer import TokenizerCodec

REPLIES_S = 900
THIRDS = 3
EARLIER = 8
EARLIER_SHORT = 240
SHORT_CHARS = 20
"""For one token, behind the pipeline: the broker's compiler needs hundreds of transactions, the engine does not."""
ROWS = 32
WORKER = {
    "PELTON_ENGINE__KIND": "continuous",
    "PELTON_ENGINE__MAX_RUNNING": str(ROWS),
    "PELTON_CACHE__ENABLED": "false",
    # It cannot say that it lives while another has its turn.
    "PELTON_KAFKA__SESSION_TIMEOUT_MS": "30000",
    # Twice the default, for its clock goes on while another has its turn.
    "PELTON_WORKER__FLUSH_INTERVAL_MS": "100",
}
WORDS = ("revenue", "margin", "liquidity", "debt", "covenant", "segment", "cash", "tax", "goodwill", "lease", "audit")


@dataclass(frozen=True, slots=True)
class Asked:
    text: str
    new_tokens: int

    def body(self) -> bytes:
        messages = [{"role": "user", "content": self.text}]
        return orjson.dumps(
            {"model": "default", "messages": messages, "temperature": 0, "max_completion_tokens": self.new_tokens}
        )


def requests_of(count: int, seed: int = 0) -> list[Asked]:
    """As long and as short as the mixed workload of `benchmarks/engine.py`."""
    dice = random.Random(seed)
    return [Asked(" ".join(dice.choices(WORDS, k=dice.randint(10, 120))), dice.randint(8, 128)) for _ in range(count)]


def short() -> list[Asked]:
    return [Asked(each.text[:SHORT_CHARS], 1) for each in requests_of(EARLIER_SHORT, seed=2)]


class Watched(Engine):
    """The engine alone, which reports the answers and tokens there are so far."""

    connection: Connection | None = None
    answers = tokens = 0

    def step(self) -> list[Outcome]:
        outcomes = super().step()
        if self.connection is None or not outcomes:
            return outcomes
        self.answers += len(outcomes)
        self.tokens += sum(each.generated_tokens for each in outcomes if isinstance(each, Completion))
        self.connection.send((self.answers, self.tokens))
        if self.connection.poll():
            sys.exit()
        return outcomes


def offline(connection: Connection, requests: list[Asked], earlier: list[Asked]) -> None:
    """A contender: the engine alone."""
    loaded = load(ModelSpec(ModelSettings().path), cache_dir() / "models")
    codec = TokenizerCodec(loaded.tokenizer)
    engine = Watched(loaded, ContinuousConfig())
    engine.warm_up()

    def generating(asked: list[Asked]) -> Callable[[], object]:
        prompts = codec.encode([codec.render([Message(role="user", content=each.text)]) for each in asked])
        params = [SamplingParams(each.new_tokens, temperature=0.0) for each in asked]
        return lambda: engine.generate(prompts, params)

    generating(earlier)()
    generate = generating(requests)
    begin(connection)
    engine.connection = connection
    generate()
    connection.send(None)
    connection.recv()


def behind(connection: Connection, bootstrap: str, requests: list[Asked], earlier: list[Asked]) -> None:
    """A contender: a worker and who asks it; reports what is committed."""

    async def ask() -> None:
        this = Measurement.new(bootstrap, "behind")
        await ensure_topics(this.kafka)
        async with (
            this.reader() as reader,
            AIOKafkaProducer(bootstrap_servers=bootstrap) as producer,
            this.worker(**WORKER),
            asyncio.timeout(REPLIES_S),
        ):
            topic = this.kafka.request_topics[0]
            await _publish(producer, topic, earlier)
            async for answers, _ in _answered(reader):
                if answers == len(earlier):
                    break
            begin(connection)
            await _publish(producer, topic, requests)
            async for answers, tokens in _answered(reader):
                connection.send((answers, tokens))
                if answers == len(requests):
                    connection.send(None)
                if connection.poll():
                    break

    asyncio.run(ask())


async def _publish(producer: AIOKafkaProducer, topic: str, requests: list[Asked]) -> None:
    for each in requests:
        await producer.send(topic, each.body())
    await producer.flush()


async def _answered(reader: AIOKafkaConsumer) -> AsyncIterator[tuple[int, int]]:
    """Committed answers and their tokens so far, each time that there are more, and now and then."""
    answers = tokens = 0
    while True:
        for records in (await reader.getmany(timeout_ms=1000)).values():
            answers += len(records)
            tokens += sum(ChatCompletion(**orjson.loads(r.value)).usage.completion_tokens for r in records)
        yield answers, tokens


def rates_of(reports: list[tuple[float, tuple[int, int]]], answered: range) -> list[float]:
    """Tokens a second while so many were answered, and in each third of that. `ValueError` where that was short."""
    points = [(at, tokens) for at, (answers, tokens) in reports if answers in answered]
    rises = [point for before, point in pairwise([(0.0, 0), *points]) if point[1] > before[1]]
    if len(rises) <= THIRDS:
        raise ValueError(f"{len(rises)} times there were more answers: give it more minutes")
    marks = [rises[round(part * (len(rises) - 1) / THIRDS)] for part in range(THIRDS + 1)]
    return [_rate(marks[0], marks[-1]), *(_rate(one, other) for one, other in pairwise(marks))]


def _rate(first: tuple[float, int], last: tuple[float, int]) -> float:
    return (last[1] - first[1]) / (last[0] - first[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=960)
    parser.add_argument("--minutes", type=float, default=4, help="of measuring; preparing takes two or three more")
    asked = parser.parse_args()
    unwind_on_sigterm()
    requests, earlier = requests_of(asked.requests), requests_of(EARLIER, seed=1)
    # The worker is prepared last: it cannot say to the broker that it lives while the other prepares.
    with (
        LocalStack(StackConfig()) as stack,
        Contender(offline, requests, earlier) as alone,
        Contender(behind, stack.kafka.bootstrap_servers, requests, [*earlier, *short()]) as pipeline,
    ):
        ends = time.monotonic() + 60 * asked.minutes
        reports = reports_in_turns({"behind the pipeline": pipeline, "offline": alone}, ends)
        rates = {name: rates_of(told, range(ROWS, asked.requests * 9 // 10)) for name, told in reports.items()}
    report_share(f"of {asked.requests} requests, saturated", "generated tokens/s", rates)


def report_share(title: str, unit: str, rates: Mapping[str, Sequence[float]]) -> None:
    """Of each the rate of the whole time, then those of its parts."""
    (first, (whole, *_)), (second, (other, *_)) = rates.items()
    table = Table("", unit, "by thirds", title=title)
    for name, (rate, *thirds) in rates.items():
        table.add_row(name, f"{rate:.1f}", " ".join(f"{each:.1f}" for each in thirds))
    WIDE.print(table, f"{first} / {second}: {whole / other:.3f}")
    print(orjson.dumps({"title": title, "unit": unit, "rates": rates, "share": whole / other}).decode())


if __name__ == "__main__":
    main()
