"""A worker whose tiny model is in two parts, on the CPU."""

from pathlib import Path

import psutil

from tests.unit.workers.engine._support.saved_model import save_model

LOST = "the process of rank 1 was ended by SIGKILL; this process ends"


def in_two_parts(folder: Path) -> dict[str, str]:
    """The settings, and the model in `folder`."""
    save_model(folder)
    return {
        "PELTON_MODEL__PATH": str(folder),
        "PELTON_MODEL__SERVED_NAME": "default",
        "PELTON_MODEL__DEVICE": "cpu",
        "PELTON_ENGINE__TENSOR_PARALLEL": "2",
        "PELTON_ENGINE__KV_MEMORY_GIB": "0.01",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }


def other_part(worker: int) -> int:
    """The process that has the second part of a worker's model."""
    (found,) = (each.pid for each in psutil.Process(worker).children() if "follower" in " ".join(each.cmdline()))
    return found
