"""Where a step's time goes on a GPU: kernels by the time they take, and how long none of them runs."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.engine.workloads import Request
from pelton.workers.engine.api import EngineRequest
from pelton.workers.engine.offline import Engine

STEPS = 20
_TOLD = 25


def profile_steps(engine: Engine, requests: Sequence[Request]) -> list[dict[str, Any]]:
    """The first steps, which are prompts', and some of those in which everybody decodes."""
    for index, request in enumerate(requests):
        engine.add(EngineRequest(index, request.prompt, request.params))
    parts = [_profiled(engine, "prompts", 5)]
    while any(sequence.computed < sequence.prompt_length for sequence in engine._scheduler.running):  # noqa: SLF001 (a look inside)
        engine.step()
    parts.append(_profiled(engine, f"decode, {engine.running} requests", STEPS))
    for index in range(len(requests)):
        engine.cancel(index)
    engine.step()
    return parts


def _profiled(engine: Engine, title: str, steps: int) -> dict[str, Any]:
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    with profile(activities=activities) as profiler:
        for _ in range(steps):
            engine.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    events = [each for each in profiler.events() or () if each.device_type.name == "CUDA"]
    spans = sorted((each.time_range.start, each.time_range.end) for each in events)
    busy, until = 0.0, float("-inf")
    for start, end in spans:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    window = until - spans[0][0] if spans else 0.0
    total: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    for each in events:
        total[each.name] += each.time_range.elapsed_us()
        calls[each.name] += 1
    kernels = [
        {"name": name, "ms": total[name] / 1e3 / steps, "calls": calls[name] / steps}
        for name in sorted(total, key=lambda name: -total[name])[:_TOLD]
    ]
    idle = 1 - busy / window if window else float("nan")
    return {"title": title, "step_ms": window / 1e3 / steps, "idle": idle, "kernels": kernels}
