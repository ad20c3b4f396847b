"""Router processes killed while requests are under way: each request is sent on once, with its one copy."""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

REQUESTS = 3_000
KILLS = 4
_SETTINGS = """\
[kafka]
bootstrap_servers = "{bootstrap}"
group_id = "{group}"
request_topics = ["{requests}"]
session_timeout_ms = 6000
create_topics = true
partitions = 3
[routing]
shadow_topic = "{requests}-shadow"
[routing.pools.large]
topic = "{requests}-large"
group_id = "{group}-large"
[routing.pools.small]
topic = "{requests}-small"
group_id = "{group}-small"
[routing.experiments.reports]
shadow = {{model = "small", share = 1}}
[routing.experiments.reports.variants]
now = {{model = "large", weight = 1}}
"""


async def test_killed_routers_send_each_request_on_once(place: Callable[..., Any], client: Any, tmp_path: Path) -> None:
    front = await place(partitions=3)
    config = tmp_path / "pelton.toml"
    group = front.settings.kafka.group_id
    config.write_text(_SETTINGS.format(bootstrap=front.bootstrap, requests=front.requests, group=group))
    running = [await _start(config), await _start(config)]
    sending = asyncio.create_task(_send(client, front.requests))
    chance = random.Random(28)
    try:
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(4, 8))
            victim = running.pop(0)
            victim.kill()
            await victim.wait()
            running.append(await _start(config))
        await sending
        await client.read(f"{front.requests}-small", REQUESTS, timeout_s=90)
        for one in running:
            one.send_signal(signal.SIGTERM)
        assert [await one.wait() for one in running] == [0, 0]
    finally:
        for one in running:
            if one.returncode is None:
                one.kill()
                await one.wait()
    ids = {str(number).encode() for number in range(REQUESTS)}
    sent_on = await client.read_all(f"{front.requests}-large")
    copies = await client.read_all(f"{front.requests}-small")
    assert Counter(_id(record) for record in sent_on) == dict.fromkeys(ids, 1)
    assert Counter(_id(record) for record in copies) == dict.fromkeys((b"shadow:" + each for each in ids), 1)


async def _start(config: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "pelton", "ab", "route", "--config", str(config)), env=dict(os.environ)
    )


async def _send(client: Any, topic: str) -> None:
    """Over the time of the kills, so that some meet routers at work."""
    for number in range(REQUESTS):
        body = orjson.dumps({"model": "reports", "user": str(number % 50), "messages": []})
        await client.send(topic, body, [("kafka_correlationId", str(number).encode())])
        await asyncio.sleep(0.008)


def _id(record: Any) -> bytes:
    identity: bytes = dict(record.headers)["kafka_correlationId"]
    return identity
