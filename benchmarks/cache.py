"""What a hit costs, and how many there are.

    python -m benchmarks.cache [--requests N] [--runs N]

Three parts, each with a table, and all of it as JSON at the end:

- looking up a key that is in memory, beside cachetools alone and, where it is installed, LiteLLM's DualCache, in turn
  (`pip install --target DIR litellm`, then `PYTHONPATH=DIR python -m benchmarks.cache`);
- a Zipf trace (s = 1.1, 5,000 prompts, 50,000 requests) over the local tier with a clock of its own, and over five
  workers' tiers with a real Valkey, each beside an offline replay of the same trace;
- replies per second of a worker that has all answers cached, beside one that generates them in no time with the cache
  switched off.
"""

import argparse
import asyncio
import importlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer
from cachetools import LRUCache, TTLCache
from rich.console import Console
from rich.table import Table

from benchmarks.support.common import PROMPT, Measurement, replies_per_s
from benchmarks.support.zipf import Trace, ideal_hits, zipf_trace
from pelton.cache.keys import answer_key
from pelton.cache.replies.local import LocalTier
from pelton.cache.replies.tiered import TieredCache
from pelton.pipeline.settings.cache import CacheSettings
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.stack.stack import LocalStack, StackConfig
from pelton.workers.kafka.topics import ensure_topics

KEYS = 5_000
LOOK_UPS = 100_000
VALUE = b"x" * 1_000
LOCAL_BYTES = 2_000_000
INTERVAL_S = 0.02
TTL_S = 300.0
WORKERS = 5
BATCH = 32
DISTINCT = 1_000
REPLIES_S = 120

Figures = dict[str, float]


def key_of(prompt: int) -> str:
    return answer_key(model="m", tenant="", fingerprint=b"weights", prompt=str(prompt), sampling={"temperature": 0})


async def look_ups(runs: int) -> dict[str, Figures]:
    """Microseconds of one look-up, p50 and p99, by who looks up."""
    keys = [key_of(index) for index in range(KEYS)]
    subjects = _subjects()
    for put, _ in subjects.values():
        for key in keys:
            put(key, VALUE)
    asked = [keys[index * 7919 % KEYS] for index in range(LOOK_UPS)]
    took: dict[str, list[int]] = {name: [] for name in subjects}
    for _ in range(runs):
        for name, (_, get) in subjects.items():
            took[name].extend(await _timed(get, asked))
    return {name: _percentiles(nanoseconds) for name, nanoseconds in took.items()}


def _subjects() -> dict[str, tuple[Callable[[str, bytes], Any], Callable[[str], Any]]]:
    """How each puts and gets, sync or async."""
    pelton = TieredCache(CacheSettings())
    lru: LRUCache[str, bytes] = LRUCache(KEYS)
    ttl: TTLCache[str, bytes] = TTLCache(KEYS, 300)
    subjects: dict[str, tuple[Callable[[str, bytes], Any], Callable[[str], Any]]] = {
        "pelton local": (pelton.put, pelton.local.get),
        "pelton get_many": (pelton.put, lambda key: pelton.get_many((key,))),
        "cachetools LRUCache": (lru.__setitem__, lru.get),
        "cachetools TTLCache": (ttl.__setitem__, ttl.get),
    }
    try:
        caching = importlib.import_module("litellm.caching")
    except ImportError:
        return subjects
    dual = caching.DualCache(in_memory_cache=caching.InMemoryCache(max_size_in_memory=KEYS))
    subjects["litellm get_cache"] = dual.set_cache, dual.get_cache
    subjects["litellm async_get_cache"] = dual.set_cache, dual.async_get_cache
    return subjects


async def _timed(get: Callable[[str], Any], keys: Sequence[str]) -> list[int]:
    now = time.perf_counter_ns
    took = []
    if asyncio.iscoroutine(first := get(keys[0])):
        await first
        for key in keys:
            began = now()
            await get(key)
            took.append(now() - began)
    else:
        for key in keys:
            began = now()
            get(key)
            took.append(now() - began)
    return took


def _percentiles(nanoseconds: Sequence[int]) -> Figures:
    cuts = statistics.quantiles(nanoseconds, n=100)
    return {"p50_us": cuts[49] / 1000, "p99_us": cuts[98] / 1000}


def local_hit_rate(trace: Trace) -> Figures:
    """Hit rates of a local tier too small for all of the trace, and of the offline replay at the same size."""
    clock = 0.0
    tier = LocalTier(LOCAL_BYTES, TTL_S, clock=lambda: clock)
    hits = 0
    for prompt in trace.prompts:
        if tier.get(key_of(prompt)) is None:
            tier.put(key_of(prompt), trace.answer(prompt))
        else:
            hits += 1
        clock += INTERVAL_S
    overhead = tier.size // len(tier) - statistics.mean(trace.sizes)
    ideal = ideal_hits(trace, capacity=LOCAL_BYTES, overhead=round(overhead), ttl_s=TTL_S, interval_s=INTERVAL_S)
    return {"hit_rate": hits / len(trace.prompts), "ideal": ideal / len(trace.prompts)}


async def tiered_hit_rate(trace: Trace, redis_url: str) -> Figures:
    """Hit rates of five workers that take batches of the trace in turn, and of one offline cache for all of them."""
    settings = CacheSettings(redis_url=redis_url, local_bytes=LOCAL_BYTES)
    workers = [TieredCache(settings) for _ in range(WORKERS)]
    for worker in workers:
        await worker.start()
    tiers = {"hit-local": 0, "hit-remote": 0, "joined": 0}
    began = time.perf_counter()
    for batch, start in enumerate(range(0, len(trace.prompts), BATCH)):
        worker = workers[batch % WORKERS]
        prompts = {key_of(prompt): prompt for prompt in trace.prompts[start : start + BATCH]}
        found = await worker.get_many(list(prompts))
        for hit in found.values():
            tiers[hit.tier] += 1
        tiers["joined"] += len(trace.prompts[start : start + BATCH]) - len(prompts)  # behind their equals in the batch
        for key in prompts.keys() - found.keys():
            worker.put(key, trace.answer(prompts[key]))
    seconds = time.perf_counter() - began
    for worker in workers:
        await worker.close()
    requests = len(trace.prompts)
    ideal = ideal_hits(trace, capacity=float("inf"), overhead=0, ttl_s=settings.ttl_s, interval_s=0)
    rates = {name: count / requests for name, count in tiers.items()}
    return {**rates, "hit_rate": sum(rates.values()), "ideal": ideal / requests, "requests_per_s": requests / seconds}


async def hits_per_s(bootstrap: str, redis_url: str, run: int, requests: int) -> tuple[float, float]:
    """Replies per second of a worker with all answers cached, and of one that generates them with the cache off."""
    cached = {"PELTON_CACHE__REDIS_URL": redis_url}
    await _replies(Measurement.new(bootstrap, f"fill-{run}"), DISTINCT, cached)
    hits = await _replies(Measurement.new(bootstrap, f"hits-{run}"), requests, cached)
    plain = await _replies(Measurement.new(bootstrap, f"plain-{run}"), requests, {"PELTON_CACHE__ENABLED": "false"})
    return hits, plain


async def _replies(this: Measurement, requests: int, settings: dict[str, str]) -> float:
    await ensure_topics(this.kafka)
    await _publish(this.kafka, requests)
    async with this.reader() as reader, asyncio.timeout(REPLIES_S), this.worker(**settings):
        return await replies_per_s(reader, requests)


async def _publish(kafka: KafkaSettings, requests: int) -> None:
    """Reproducible requests over `DISTINCT` prompts."""
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
        for index in range(requests):
            message = {"role": "user", "content": f"{index % DISTINCT}: {PROMPT}"}
            body = orjson.dumps({"model": "default", "messages": [message], "temperature": 0})
            await producer.send(kafka.request_topics[0], body, headers=[("kafka_correlationId", str(index).encode())])
        await producer.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000, help="of each run of the last part")
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    trace = zipf_trace()
    result: dict[str, Any] = {"look_ups": asyncio.run(look_ups(asked.runs)), "local_trace": local_hit_rate(trace)}
    with LocalStack(StackConfig()) as stack:
        bootstrap, redis_url = stack.kafka.bootstrap_servers, stack.valkey.url
        result["tiered_trace"] = asyncio.run(tiered_hit_rate(trace, redis_url))
        result["hits_and_plain_per_s"] = [
            asyncio.run(hits_per_s(bootstrap, redis_url, run, asked.requests)) for run in range(asked.runs)
        ]
    _report(result)


def _report(result: dict[str, Any]) -> None:
    found = Table("look-up in memory", "p50", "p99", title=f"{KEYS:,} keys, {len(VALUE):,} bytes each")
    for name, figures in result["look_ups"].items():
        found.add_row(name, f"{figures['p50_us']:.2f} us", f"{figures['p99_us']:.2f} us")
    traced = Table("Zipf trace", "hit rate", "offline LRU with TTL", "of which local")
    for name, figures in (("local tier", result["local_trace"]), ("five workers", result["tiered_trace"])):
        local = figures.get("hit-local", figures["hit_rate"])
        traced.add_row(name, f"{figures['hit_rate']:.2%}", f"{figures['ideal']:.2%}", f"{local:.2%}")
    hits, plain = map(statistics.median, zip(*result["hits_and_plain_per_s"], strict=True))
    ratio = result["hits_over_plain"] = hits / plain
    Console().print(found, traced, f"Hits: {hits:.0f} replies/s; generated in no time: {plain:.0f}; ratio {ratio:.2f}.")
    print(orjson.dumps(result).decode())


if __name__ == "__main__":
    main()
