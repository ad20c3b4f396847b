"""`pelton worker` with a model in two parts: real processes, a real broker."""

import asyncio
import os
import signal
from collections import Counter

from tests.e2e.parts import LOST, in_two_parts, other_part
from tests.e2e.records import answered, publish, replies, worker_pids
from tests.replies import error_code


def test_a_model_in_two_parts_answers_and_ends_with_either(pelton, kafka_bootstrap, eventually, tmp_path):
    """Each request is answered; when the second part is killed one line says so, and the worker is started again."""
    pelton.start_worker(**in_two_parts(tmp_path / "model"))
    asyncio.run(publish(kafka_bootstrap, pelton.requests, [str(index) for index in range(8)]))
    found = asyncio.run(replies(kafka_bootstrap, pelton.replies, 8))
    assert answered(found) == Counter(range(8))
    assert {error_code(reply) for reply in found} == {None}
    os.kill(other_part(worker_pids(pelton.log())[0]), signal.SIGKILL)
    eventually(lambda: len(worker_pids(pelton.log())) == 2, 30)
    assert pelton.log().count(LOST) == 1
    assert "Traceback" not in pelton.log()
