"""What the pipeline leaves of the engine's speed: the same requests offline and through Kafka.

    python -m benchmarks.pipeline_overhead [--requests N] [--rounds N] [--minutes N]

Offline, the engine gets all requests of a round at once, in a process of its own. Behind the pipeline they are
published to a worker at once; the clock runs from then to the last committed reply. Both generate the same tokens with
the same model (SmolLM2-135M), and both have answered others before, so that memory, broker and compilers are warm: they
are prepared once, and no round has a request of another. They have turns of a second each (`support/interleaved.py`);
the broker runs on the same cores all the time. No round begins that would not end within the minutes, going by those
before it, so that a machine with other work on it gives fewer rounds and not none. Prints a table and the same as JSON;
the share is that of the medians.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.support.common import Measurement, report_two
from benchmarks.support.interleaved import Contender, begin, rates_in_turns, unwind_on_sigterm
from pelton.pipeline.paths import cache_dir
from pelton.pipeline.settings.engine import ModelSettings
from pelton.pipeline.wire.chat import ChatCompletion, Message
from pelton.stack.stack import LocalStack, StackConfig
from pelton.workers.engine import Engine, SamplingParams
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.model.loading import ModelSpec, load
from pelton.workers.kafka.topics import ensure_topics
from pelton.workers.prepare.tokenizer import TokenizerCodec

REPLIES_S = 900
EARLIER = 8
EARLIER_SHORT = 240
SHORT_CHARS = 20
"""For one token, behind the pipeline: the broker's compiler needs hundreds of transactions, the engine does not."""
WORKER = {
    "PELTON_ENGINE__KIND": "continuous",
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


def offline(connection: Connection, rounds: list[list[Asked]], earlier: list[Asked]) -> None:
    """A contender: the engine alone; achieves generated tokens, round by round."""
    loaded = load(ModelSpec(ModelSettings().path), cache_dir() / "models")
    codec = TokenizerCodec(loaded.tokenizer)
    engine = Engine(loaded, ContinuousConfig())
    engine.warm_up()

    def generating(asked: list[Asked]) -> Callable[[], int]:
        prompts = codec.encode([codec.render([Message(role="user", content=each.text)]) for each in asked])
        params = [SamplingParams(each.new_tokens, temperature=0.0) for each in asked]
        return lambda: sum(len(each.token_ids) for each in engine.generate(prompts, params))

    generating(earlier)()
    for requests in rounds:
        generate = generating(requests)
        if not begin(connection):
            return
        connection.send(generate())
    connection.recv()


def behind(connection: Connection, bootstrap: str, rounds: list[list[Asked]], earlier: list[Asked]) -> None:
    """A contender: a worker and who asks it; achieves generated tokens by the last committed reply of a round."""

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
            await _tokens(reader, len(earlier))
            for requests in rounds:
                if not begin(connection):
                    return
                await _publish(producer, topic, requests)
                connection.send(await _tokens(reader, len(requests)))
            connection.recv()

    asyncio.run(ask())


async def _publish(producer: AIOKafkaProducer, topic: str, requests: list[Asked]) -> None:
    for each in requests:
        await producer.send(topic, each.body())
    await producer.flush()


async def _tokens(reader: AIOKafkaConsumer, replies: int) -> int:
    """Tokens generated for so many replies, when they are there."""
    seen = tokens = 0
    while seen < replies:
        for records in (await reader.getmany(timeout_ms=1000)).values():
            seen += len(records)
            tokens += sum(ChatCompletion(**orjson.loads(r.value)).usage.completion_tokens for r in records)
    return tokens


def measured(bootstrap: str, rounds: list[list[Asked]], earlier: list[Asked], ends: float) -> dict[str, list[float]]:
    """The rates of each round that ended before `ends` (`time.monotonic`), as far as that could be foreseen."""
    rates: dict[str, list[float]] = {"behind the pipeline": [], "offline": []}
    # The worker is prepared last: it cannot say to the broker that it lives while the other prepares.
    with (
        Contender(offline, rounds, earlier) as alone,
        Contender(behind, bootstrap, rounds, [*earlier, *short()]) as pipeline,
    ):
        longest_s = 0.0
        for number in range(len(rounds)):
            if number:
                if time.monotonic() + longest_s > ends:
                    break
                alone.again()
                pipeline.again()
            began = time.monotonic()
            for name, rate in rates_in_turns({"behind the pipeline": pipeline, "offline": alone}).items():
                rates[name].append(rate)
            longest_s = max(longest_s, time.monotonic() - began)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=64, help="in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--minutes", type=float, default=3.5, help="after which no more rounds begin")
    asked = parser.parse_args()
    unwind_on_sigterm()
    ends = time.monotonic() + 60 * asked.minutes
    rounds = [requests_of(asked.requests, seed=10 + number) for number in range(asked.rounds)]
    with LocalStack(StackConfig()) as stack:
        rates = measured(stack.kafka.bootstrap_servers, rounds, requests_of(EARLIER, seed=1), ends)
    report_two(f"{asked.requests} requests a round, saturated", "generated tokens/s", rates)


if __name__ == "__main__":
    main()
