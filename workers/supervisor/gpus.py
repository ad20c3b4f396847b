"""Which GPUs this process may use, found without loading a GPU library: the parent of workers should stay small."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

VARIABLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus(environment: Mapping[str, str] = os.environ, devices: Path = Path("/dev")) -> list[str]:
    """As `CUDA_VISIBLE_DEVICES` names them; without it, all that the NVIDIA driver shows."""
    named = environment.get(VARIABLE)
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(index) for index, _ in enumerate(devices.glob("nvidia[0-9]*"))]


def gpus_for(index: int, replicas: int, gpus: Sequence[str], each: int = 1) -> dict[str, str]:
    """The environment that gives worker `index` its `each` GPUs; a single worker, or one without GPUs, keeps what there
    is.

    Where there are not enough for all, workers share: the same groups are given out again.
    """
    if replicas == 1 or not gpus:
        return {}
    groups = max(1, len(gpus) // each)
    first = each * (index % groups)
    return {VARIABLE: ",".join(gpus[first : first + each])}
