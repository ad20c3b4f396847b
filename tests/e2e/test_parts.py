"""`pelton worker` with a model in two parts, on the CPU: real processes, a real broker."""

import asyncio
import os
import re
import signal
from collections import Counter

import psutil

from tests.e2e.test_pool import answered, error_code, publish, replies, worker_pids
from tests.unit.workers.engine._support.saved_model import save_model


def other_part(worker: int) -> int:
    """The process that has the second part of a worker's model."""
    (found,) = (each.pid for each in psutil.Process(worker).children() if "follower" in " ".join(each.cmdline()))
    return found


def test_a_model_in_two_parts_outlives_the_end_of_either(pelton, kafka_bootstrap, eventually, tmp_path):
    """It answers; when the second part is killed one line says so and the worker comes back; no part is left behind."""
    save_model(tmp_path / "model")
    pelton.start_worker(
        PELTON_MODEL__PATH=str(tmp_path / "model"), PELTON_MODEL__SERVED_NAME="default", PELTON_MODEL__DEVICE="cpu",
        PELTON_ENGINE__TENSOR_PARALLEL="2", PELTON_ENGINE__KV_MEMORY_GIB="0.01", OMP_NUM_THREADS="1",
        CUDA_VISIBLE_DEVICES="",
    )  # fmt: skip
    asyncio.run(publish(kafka_bootstrap, pelton.requests, [str(index) for index in range(8)]))
    found = asyncio.run(replies(kafka_bootstrap, pelton.replies, 8))
    assert answered(found) == Counter(range(8))
    assert {error_code(reply) for reply in found} == {None}

    os.kill(other_part(worker_pids(pelton.log())[0]), signal.SIGKILL)
    eventually(lambda: pelton.log().count("worker 0 is ready") == 2, 60)
    assert len(re.findall(r"the process of rank 1 was ended by SIGKILL; this process ends", pelton.log())) == 1
    assert "Traceback" not in pelton.log()

    worker = worker_pids(pelton.log())[1]
    part = other_part(worker)
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not psutil.pid_exists(part), 10)
