"""The broker goes away under load, and comes back: workers wait for it in few words, and nothing is lost or repeated.

`make outage` keeps it away for a minute; `make test` for six seconds.
"""

import asyncio
import os
import sys
import time

import orjson
import pytest

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire.contract import dead_letter_topic
from pelton.stack.kafka import KafkaServer
from pelton.workers.engine.simulated.text import signature
from pelton.workers.kafka.topics import ensure_topics
from tests.chaos import logs
from tests.chaos.checker import Wrong, check
from tests.chaos.history import History, Kind
from tests.chaos.load import Load
from tests.chaos.mix import Content, Request
from tests.e2e.conftest import READY_S

AWAY_S = float(os.environ.get("PELTON_TEST_OUTAGE_S", "6"))
MAX_LINES = 10
"""That a worker may log from the moment the broker goes until its requests are answered again."""
BEFORE_S, AFTER_S = 1.5, 2.5
GAP_S = 0.05
STOP_S = 35.0
SERVE = (sys.executable, "-P", "-m", "pelton", "serve", "--port", "0")
CAUGHT_UP_S = 120.0
SIMULATED = {
    "PELTON_ENGINE__KIND": "simulated",
    "PELTON_ENGINE__SIMULATED__ITL_MS": "20",
    "PELTON_CACHE__ENABLED": "false",
}


@pytest.fixture
def kafka_bootstrap(server: KafkaServer) -> str:
    return server.bootstrap_servers


def request(number: int, partitions: int) -> Request:
    text = f"request {number}"
    body = orjson.dumps({"model": "default", "messages": [{"role": "user", "content": text}]})
    return Request(str(number), number % partitions, Content(Kind.GOOD, signature(f"user: {text}"), body))


class Sending:
    """Publishes requests at a steady pace until it is over, whatever becomes of the broker."""

    def __init__(self, load: Load, partitions: int) -> None:
        self._load = load
        self._partitions = partitions
        self._over = asyncio.Event()

    async def run(self) -> None:
        number = 0
        while not self._over.is_set():
            await self._load.send(request(number, self._partitions))
            number += 1
            await asyncio.sleep(GAP_S)
        await self._load.close()

    def end(self) -> None:
        self._over.set()


async def caught_up(kafka: KafkaSettings) -> None:
    async with asyncio.timeout(CAUGHT_UP_S):
        while any((await logs.lag(kafka)).values()):  # noqa: ASYNC110  # the broker tells nobody
            await asyncio.sleep(0.5)


async def history(kafka: KafkaSettings, load: Load) -> History:
    requests = kafka.request_topics[0]
    return History(
        sent=load.sent,
        stored=tuple(map(logs.stored, await logs.read_log(kafka, requests))),
        replies=tuple(map(logs.reply, await logs.read_log(kafka, kafka.reply_topic))),
        letters=tuple(map(logs.letter, await logs.read_log(kafka, dead_letter_topic(requests)))),
        lag=await logs.lag(kafka),
    )


async def test_a_broker_that_is_away_costs_a_few_lines_and_nothing_else(pelton, server) -> None:
    """Ten lines a process; SIGTERM meanwhile exits 0; a worker started meanwhile serves after it; 0 lost, 0 twice."""
    kafka = pelton.kafka_settings()
    await ensure_topics(kafka)
    load = Load(kafka)
    sending = Sending(load, kafka.partitions)
    first_two = [pelton.launch_worker(**SIMULATED) for _ in range(2)]
    server_of_http = pelton.launch_worker(SERVE, PELTON_SERVE__STORAGE=str(pelton.folder / "files"))
    await asyncio.gather(*(asyncio.to_thread(pelton.await_ready, worker) for worker in first_two))
    await asyncio.to_thread(server_of_http.wait_ready, lambda: "is served on" in pelton.log(2), READY_S)
    async with asyncio.TaskGroup() as group:
        group.create_task(sending.run())
        await asyncio.sleep(BEFORE_S)
        await asyncio.to_thread(server.kill)
        before, served = pelton.log(0), pelton.log(2)
        began = time.monotonic()
        late = await asyncio.to_thread(pelton.launch_worker, **SIMULATED)
        await asyncio.sleep(AWAY_S / 4)
        leaving = group.create_task(stopped(pelton.workers[1]))
        await asyncio.sleep(began + AWAY_S - time.monotonic())
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(pelton.await_ready, late)
        await asyncio.sleep(AFTER_S)
        sending.end()
    status, took_s = leaving.result()
    await caught_up(kafka)
    said, said_by_server = pelton.log(0).removeprefix(before), pelton.log(2).removeprefix(served)
    assert [each[0] for each in await asyncio.gather(*(stopped(pelton.workers[index]) for index in (0, 2)))] == [0, 0]
    await stopped(late)
    verdict = check(await history(kafka, load))
    assert {wrong: verdict.count(wrong) for wrong in Wrong} == dict.fromkeys(Wrong, 0), verdict.as_json()["examples"]
    assert verdict.replies > (BEFORE_S + AFTER_S) / GAP_S / 2
    assert (status, took_s < STOP_S) == (0, True), pelton.log(1)
    for text in (said, pelton.log(1), said_by_server, pelton.log(3)):
        assert "Traceback" not in text
    for text in (said, said_by_server):
        assert len(text.splitlines()) <= MAX_LINES, text
    assert len(pelton.log(3).splitlines()) <= MAX_LINES + 12, pelton.log(3)


async def stopped(worker) -> tuple[int, float]:
    """Its exit status after SIGTERM, and how long that took."""
    began = time.monotonic()
    status = await asyncio.to_thread(worker.stop)
    return status, time.monotonic() - began
