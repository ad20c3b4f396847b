"""OpenVINO GenAI's continuous batching on a CPU, at its own settings but for the number of threads.

It reads the GGUF file itself, keeps the weights in the file's four bits, and has threads of its own.
"""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engine.cpu_peers import Contender, timed
from benchmarks.engine.workloads import Request

INSTALL = "pip install openvino-genai"
_CACHE_GB = 1
"""More than the keys and values of 48 requests."""


def missing() -> str | None:
    """What to do before it can be compared; None where it can."""
    return None if find_spec("openvino_genai") else f"openvino-genai is not installed: {INSTALL}"


def openvino_run(model: Path, threads: int, earlier: Sequence[Request], runs: Iterable[Sequence[Request]]) -> Contender:
    """One pipeline that has answered `earlier` requests, given others in each of its runs.

    A run raises `RuntimeError` where a request did not get all of its tokens.
    """
    import openvino_genai  # noqa: PLC0415 (optional)

    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = _CACHE_GB
    scheduler.enable_prefix_caching = True
    pipeline = openvino_genai.ContinuousBatchingPipeline(
        str(model), scheduler, "CPU", {"INFERENCE_NUM_THREADS": threads}
    )
    _generate(pipeline, earlier)
    upcoming = iter(runs)
    return lambda: timed(lambda: _generate(pipeline, next(upcoming)))


def _generate(pipeline: Any, requests: Sequence[Request]) -> None:
    from openvino import Tensor  # noqa: PLC0415 (optional)

    results = pipeline.generate(
        [Tensor(np.array([request.prompt], dtype=np.int64)) for request in requests],
        [_config(request) for request in requests],
    )
    generated = [len(result.m_generation_ids[0]) for result in results]
    if generated != [request.new_tokens for request in requests]:
        raise RuntimeError(f"OpenVINO generated {sum(generated)} tokens, not all that were asked for")


def _config(request: Request) -> Any:
    import openvino_genai  # noqa: PLC0415 (optional)

    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = request.new_tokens
    config.ignore_eos = True
    config.do_sample = False
    return config
