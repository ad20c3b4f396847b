"""Worker processes that share a Valkey: equal requests are generated once, and at most once more for each death."""

import asyncio
import os
import re
import signal
import urllib.error
import urllib.request
from collections import Counter

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from pelton.stack.ports import free_port

WORKERS = 5
REQUESTS = 50
SLOW = {
    "PELTON_ENGINE__KIND": "simulated",
    "PELTON_ENGINE__SIMULATED__ITL_MS": "60",
    "PELTON_ENGINE__SIMULATED__MIN_OUTPUT_TOKENS": "50",
    "PELTON_ENGINE__SIMULATED__MEAN_OUTPUT_TOKENS": "50",
    "PELTON_CACHE__TIMEOUT_MS": "500",
    "PELTON_KAFKA__PARTITIONS": "10",
    "PELTON_WORKER__REPLICAS": str(WORKERS),
}
"""Three seconds for an answer."""


def test_the_death_of_the_one_that_generates_costs_one_generation(pelton, kafka_bootstrap, redis_url, eventually):
    """Fifty equal requests at five processes, one generates and is killed -9 half-way: fifty answers, one miss."""
    port = free_port()
    pelton.start_worker(**SLOW, PELTON_CACHE__REDIS_URL=redis_url, PELTON_WORKER__METRICS_PORT=str(port))
    eventually(lambda: len(re.findall("assigned 2 partitions", pelton.log())) >= WORKERS, 60)
    asyncio.run(publish(kafka_bootstrap, pelton.requests))
    eventually(lambda: any(running(port + index) for index in range(WORKERS)), 60)
    (leader,) = [index for index in range(WORKERS) if running(port + index)]
    pids = {int(index): int(pid) for index, pid in re.findall(r"worker (\d+) is process (\d+)", pelton.log())}
    os.kill(pids[leader], signal.SIGKILL)
    replies = asyncio.run(read(kafka_bootstrap, pelton.replies))
    assert Counter(header(reply, "kafka_correlationId") for reply in replies) == Counter(map(str, range(REQUESTS)))
    bodies = [orjson.loads(reply.value) for reply in replies]
    assert len({body["id"] for body in bodies}) == REQUESTS
    assert len({body["choices"][0]["message"]["content"] for body in bodies}) == 1
    outcomes = Counter(header(reply, "pelton-cache") for reply in replies)
    # Whoever began the generation may have moved with its partition meanwhile: it is answered from the cache then.
    assert outcomes["miss"] <= 1
    assert outcomes.keys() <= {"miss", "joined", "hit-local", "hit-remote"}
    # A generation that was cut off left no reply; the ones that were not are all counted.
    assert sum(generated(port + index) for index in range(WORKERS)) == 50 * outcomes["miss"]


async def publish(bootstrap: str, topic: str) -> None:
    body = {"model": "default", "messages": [{"role": "user", "content": topic}], "temperature": 0}
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for index in range(REQUESTS):
            headers = [("kafka_correlationId", str(index).encode())]
            await producer.send(topic, orjson.dumps(body), headers=headers, partition=index % 10)
        await producer.flush()


async def read(bootstrap: str, topic: str) -> list[ConsumerRecord]:
    """Replies to all requests, and whatever else is there by then."""
    found: list[ConsumerRecord] = []
    reader = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    async with reader, asyncio.timeout(120):
        while len({header(reply, "kafka_correlationId") for reply in found}) < REQUESTS:
            for records in (await reader.getmany(timeout_ms=500)).values():
                found.extend(records)
    return found


def header(reply: ConsumerRecord, name: str) -> str:
    return str(dict(reply.headers)[name].decode())


def running(port: int) -> float:
    """Requests in a worker's engine."""
    return sample(port, "pelton_running_requests")


def generated(port: int) -> float:
    """Tokens of the answers that a worker generated and sent."""
    return sample(port, "pelton_generated_tokens_total")


def sample(port: int, name: str) -> float:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except urllib.error.URLError:  # dead, or not up again
        return 0.0
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found, f"no metric {name}"
    return float(found[1])
