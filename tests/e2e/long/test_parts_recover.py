"""What is left of a model in two parts when one of its processes is killed: nothing, and the pool begins anew."""

import asyncio
import os
import signal
from collections import Counter

import psutil

from tests.e2e.parts import LOST, in_two_parts, other_part
from tests.e2e.records import answered, publish, replies, worker_pids
from tests.replies import error_code


def test_requests_outlive_the_parts_of_a_model(pelton, kafka_bootstrap, eventually, tmp_path):
    """Either is killed in the middle of the answers: all are answered once, and no part is left behind."""
    pool = pelton.start_worker(**in_two_parts(tmp_path / "model"), PELTON_ENGINE__MAX_RUNNING="2")
    asyncio.run(publish(kafka_bootstrap, pelton.requests, [str(index) for index in range(40)]))
    asyncio.run(replies(kafka_bootstrap, pelton.replies, 3))
    os.kill(other_part(worker_pids(pelton.log())[0]), signal.SIGKILL)
    asyncio.run(replies(kafka_bootstrap, pelton.replies, 20))
    assert pelton.log().count(LOST) == 1

    worker = worker_pids(pelton.log())[-1]
    part = other_part(worker)
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not psutil.pid_exists(part), 10)
    found = asyncio.run(replies(kafka_bootstrap, pelton.replies, 40))
    assert answered(found) == Counter(range(40))
    assert {error_code(reply) for reply in found} == {None}

    part = other_part(worker_pids(pelton.log())[-1])
    assert pool.stop() == 0
    assert not psutil.pid_exists(part)
