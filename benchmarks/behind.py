"""What the pipeline leaves of the engine's speed: the same requests offline and through Kafka.

    python -m benchmarks.behind [--requests N] [--runs N]

Offline, the engine gets all requests at once, in this process. Behind the pipeline they lie in the topic before the
worker starts; the clock runs from the moment it is ready to the last committed reply, so the taking over of partitions
and the last flush count too. Both generate the same tokens with the same model (SmolLM2-135M). Prints a table and the
same as JSON.
"""

import argparse
import asyncio
import random
import statistics
import time
from dataclasses import dataclass

import orjson
from aiokafka import AIOKafkaProducer
from rich.console import Console
from rich.table import Table

from benchmarks.common import Measurement
from pelton.stack.stack import LocalStack, StackConfig
from pipeline.messages import ChatCompletion, Message
from pipeline.paths import cache_dir
from pipeline.settings import KafkaSettings, ModelSettings
from workers.codec import TokenizerCodec
from workers.engine import Engine, SamplingParams
from workers.engine.kv_memory import ContinuousConfig
from workers.engine.loading import ModelSpec, load
from workers.topics import ensure_topics

REPLIES_S = 540
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


def requests_of(count: int) -> list[Asked]:
    """As long and as short as the mixed workload of `benchmarks/engine.py`."""
    dice = random.Random(0)
    return [Asked(" ".join(dice.choices(WORDS, k=dice.randint(10, 120))), dice.randint(8, 128)) for _ in range(count)]


def offline(requests: list[Asked]) -> float:
    """Generated tokens per second of the engine alone."""
    loaded = load(ModelSpec(ModelSettings().path), cache_dir() / "models")
    codec = TokenizerCodec(loaded.tokenizer)
    prompts = codec.encode([codec.render([Message(role="user", content=each.text)]) for each in requests])
    params = [SamplingParams(each.new_tokens, temperature=0.0) for each in requests]
    engine = Engine(loaded, ContinuousConfig())
    engine.warm_up()
    started = time.perf_counter()
    completions = engine.generate(prompts, params)
    return sum(len(each.token_ids) for each in completions) / (time.perf_counter() - started)


async def behind(bootstrap: str, name: str, requests: list[Asked]) -> float:
    """Generated tokens per second from the worker's readiness to the last committed reply."""
    this = Measurement.new(bootstrap, name)
    await ensure_topics(this.kafka)
    await _publish(this.kafka, requests)
    settings = {"PELTON_ENGINE__KIND": "continuous", "PELTON_CACHE__ENABLED": "false"}
    async with this.reader() as reader, this.worker(**settings), asyncio.timeout(REPLIES_S):
        started, seen, tokens = time.perf_counter(), 0, 0
        while seen < len(requests):
            for records in (await reader.getmany(timeout_ms=1000)).values():
                seen += len(records)
                tokens += sum(ChatCompletion(**orjson.loads(r.value)).usage.completion_tokens for r in records)
        return tokens / (time.perf_counter() - started)


async def _publish(kafka: KafkaSettings, requests: list[Asked]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
        for each in requests:
            await producer.send(kafka.request_topics[0], each.body())
        await producer.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=144)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    requests = requests_of(asked.requests)
    rates: dict[str, list[float]] = {"offline": [], "behind the pipeline": []}
    with LocalStack(StackConfig()) as stack:
        for run in range(asked.runs):
            rates["offline"].append(offline(requests))
            measured = behind(stack.kafka.bootstrap_servers, f"behind-{run}", requests)
            rates["behind the pipeline"].append(asyncio.run(measured))
    _report(asked.requests, rates)


def _report(requests: int, rates: dict[str, list[float]]) -> None:
    medians = {name: statistics.median(measured) for name, measured in rates.items()}
    ratio = medians["behind the pipeline"] / medians["offline"]
    table = Table("way", "generated tokens/s (median)", "runs", title=f"{requests} requests, saturated")
    for name, measured in rates.items():
        table.add_row(name, f"{medians[name]:.1f}", " ".join(f"{rate:.1f}" for rate in measured))
    Console().print(table, f"behind / offline: {ratio:.3f}")
    print(orjson.dumps({"requests": requests, "tokens_per_s": rates, "behind_over_offline": ratio}).decode())


if __name__ == "__main__":
    main()
