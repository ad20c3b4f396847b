"""`pelton worker` under fire: poison, kills, drains, and the death of the parent; real processes, a real broker."""

import asyncio
import os
import signal
import time
from collections import Counter

import orjson
import psutil
import pytest

from tests.e2e.records import answered, everything, header, publish, replies, worker_pids
from tests.faulty.engine import Mark
from tests.faulty.worker import COMMAND
from tests.replies import error_code

SIMULATED = {
    "PELTON_ENGINE__KIND": "simulated",
    "PELTON_ENGINE__MAX_BATCH_TOKENS": "32768",
    "PELTON_ENGINE__SIMULATED__ITL_MS": "10",
    "PELTON_WORKER__MAX_WAITING_TOKENS": "1000000",
}


def crashes(log: str) -> int:
    return log.count("was ended by SIGKILL; ")


def suspects(bootstrap: str, group_id: str) -> list[bytes]:
    """Suspicions of a group's workers that are not withdrawn."""
    records = asyncio.run(everything(bootstrap, "inference.suspects"))
    last = {record.key: record.value for record in records if orjson.loads(record.key)[0] == group_id}
    return [key for key, value in last.items() if value is not None]


def test_one_poison_record_among_255_good_ones_in_flight(pelton, kafka_bootstrap):
    """It kills its worker whenever it runs; yet there are 255 answers, one error, one dead letter, and not 40 s."""
    texts = [f"good {index}" for index in range(255)] + [Mark.KILL]
    pool = pelton.start_worker(COMMAND, **SIMULATED)
    started = time.monotonic()
    asyncio.run(publish(kafka_bootstrap, pelton.requests, texts))
    found = asyncio.run(replies(kafka_bootstrap, pelton.replies, 256))
    assert time.monotonic() - started < 40
    assert answered(found) == Counter(range(256))
    assert Counter(map(error_code, found)) == {None: 255, "poisoned": 1}
    (poisoned,) = (reply for reply in found if error_code(reply))
    assert header(poisoned, "kafka_correlationId") == b"255"
    assert pool.stop() == 0
    (letter,) = asyncio.run(everything(kafka_bootstrap, f"{pelton.requests}-dlt"))
    assert orjson.loads(letter.value)["messages"][0]["content"] == Mark.KILL
    assert header(letter, "kafka_dlt-original-topic") == pelton.requests.encode()
    assert header(letter, "kafka_dlt-exception-message").startswith(b"poisoned: ")
    assert int(header(letter, "pelton-attempt")) == int(header(poisoned, "pelton-attempt")) == crashes(pelton.log())
    assert crashes(pelton.log()) <= 8 + 2 + 2
    assert suspects(kafka_bootstrap, pelton.environment["PELTON_KAFKA__GROUP_ID"]) == []


def test_counts_survive_the_death_of_everything(pelton, kafka_bootstrap):
    """A parent killed in the middle of the search leaves what it found: the next pool needs only the rest."""
    settings = {**SIMULATED, "PELTON_WORKER__MAX_LONE_CRASHES": "3"}
    first = pelton.start_worker(COMMAND, **settings)
    asyncio.run(publish(kafka_bootstrap, pelton.requests, [Mark.KILL]))
    deadline = time.monotonic() + 30
    while crashes(pelton.log(0)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    first.kill()
    pelton.start_worker(COMMAND, **settings)
    (reply,) = asyncio.run(replies(kafka_bootstrap, pelton.replies, 1))
    assert error_code(reply) == "poisoned"
    assert "3 times with no other request running" in orjson.loads(reply.value)["error"]["message"]
    assert crashes(pelton.log(1)) <= 2


def test_a_killed_replica_comes_back_and_nothing_is_lost(pelton, kafka_bootstrap, eventually):
    """Two workers share the load; one is killed in the middle, is started again, and every request is answered once."""
    pelton.start_worker(**SIMULATED, PELTON_WORKER__REPLICAS="2")
    asyncio.run(publish(kafka_bootstrap, pelton.requests, [str(index) for index in range(300)]))
    asyncio.run(replies(kafka_bootstrap, pelton.replies, 20))
    os.kill(worker_pids(pelton.log())[0], signal.SIGKILL)
    found = asyncio.run(replies(kafka_bootstrap, pelton.replies, 300))
    assert answered(found) == Counter(range(300))
    assert {error_code(reply) for reply in found} == {None}
    eventually(lambda: pelton.log().count("worker 0 is ready") == 2, 60)
    assert (pelton.folder / "ready-0").exists()


def test_sigterm_drains_all_replicas(pelton, kafka_bootstrap):
    """Both finish what they run and publish it; the exit code is 0, no process is left, and the rest is answered."""
    leaving = pelton.start_worker(**SIMULATED, PELTON_ENGINE__SIMULATED__MAX_RUNNING="8", PELTON_WORKER__REPLICAS="2")
    asyncio.run(publish(kafka_bootstrap, pelton.requests, [str(index) for index in range(160)]))
    asyncio.run(replies(kafka_bootstrap, pelton.replies, 20))
    assert leaving.stop() == 0
    assert pelton.log().count("pelton.workers.worker: drained") == 2
    assert not any(map(psutil.pid_exists, worker_pids(pelton.log())))
    assert not list(pelton.folder.glob("ready*"))
    pelton.start_worker(**SIMULATED)
    assert answered(asyncio.run(replies(kafka_bootstrap, pelton.replies, 160))) == Counter(range(160))


@pytest.mark.parametrize("ready", [True, False])
def test_workers_do_not_outlive_their_parent(pelton, eventually, ready):
    """SIGKILL of the parent, running or starting up: its workers leave their group and are gone within seconds."""
    parent = pelton.start_worker(**SIMULATED, PELTON_WORKER__REPLICAS="2")
    if not ready:
        os.kill(worker_pids(pelton.log())[0], signal.SIGKILL)
        eventually(lambda: len(worker_pids(pelton.log())) == 3, 60)
    parent.kill()
    eventually(lambda: not any(map(psutil.pid_exists, worker_pids(pelton.log()))), 60)
