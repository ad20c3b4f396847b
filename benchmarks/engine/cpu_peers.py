"""What `benchmarks/engine/cpu.py` compares: engine, bound and peers, each a call that takes its own time."""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import GenerationConfig

from benchmarks.engine.workloads import Request
from pelton.pipeline.paths import cache_dir
from pelton.workers.engine.attention.packed_batch import PackedBatch
from pelton.workers.engine.attention.paged import ATTENTION
from pelton.workers.engine.attention.params import AttentionParams
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.model_runner import PackedRunner
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.engine.offline import Engine

MODELS = cache_dir() / "models"
PADDED_ROWS = 16
KV_GIB = 0.5
"""Memory for pages that the first requests fill, as a worker's is after its first minutes: from then on none is new."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """What a run took: by the clock, and of all processors together."""

    wall: float
    cpu: float


Contender = Callable[[], Seconds]


def timed(work: Callable[[], object]) -> Seconds:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def engine_run(loaded: LoadedModel, requests: Sequence[Request], **limits: Any) -> Contender:
    """A new engine each time, so that nothing is cached from the run before."""
    return lambda: _generated(Engine(loaded, ContinuousConfig(**limits)), requests)


def warm_engine_run(
    loaded: LoadedModel, earlier: Sequence[Request], runs: Iterable[Sequence[Request]], **limits: Any
) -> Contender:
    """One engine that has answered `earlier` requests, given others in each of its runs."""
    engine = Engine(loaded, ContinuousConfig(kv_memory_gib=KV_GIB, **limits))
    _generated(engine, earlier)
    upcoming = iter(runs)
    return lambda: _generated(engine, next(upcoming))


def _generated(engine: Engine, requests: Sequence[Request]) -> Seconds:
    return timed(lambda: engine.generate([r.prompt for r in requests], [r.params for r in requests]))


class _NoAttention:
    """Gives each layer values of the right shape for nothing."""

    def attend(self, _layer: int, queries: torch.Tensor, *_: torch.Tensor | AttentionParams) -> torch.Tensor:
        return queries.contiguous()


def bound_run(loaded: LoadedModel, body: LoadedModel, requests: Sequence[Request]) -> Contender:
    """The steps that `loaded` takes for these requests, as forward passes of `body` without attention or pages."""
    engine = Engine(loaded, ContinuousConfig())
    batches: list[PackedBatch] = []
    forward = PackedRunner.forward

    def record(self: PackedRunner, batch: PackedBatch, attention: Any) -> torch.Tensor:
        batches.append(batch)
        return forward(self, batch, attention)

    PackedRunner.forward = record  # type: ignore[method-assign]
    engine.generate([r.prompt for r in requests], [r.params for r in requests])
    PackedRunner.forward = forward  # type: ignore[method-assign]
    runner = PackedRunner(body.model, engine._store)  # noqa: SLF001 (it is not used: no attention)

    @torch.inference_mode()
    def run() -> None:
        for batch in batches:
            runner.forward(batch, _NoAttention()).argmax(dim=-1)

    return _with_attention(body, ATTENTION, run)


def padded_run(loaded: LoadedModel, requests: Sequence[Request]) -> Contender:
    """Transformers' `generate`, 16 rows at a time in the order they came."""

    @torch.inference_mode()
    def run() -> None:
        for start in range(0, len(requests), PADDED_ROWS):
            rows = requests[start : start + PADDED_ROWS]
            longest = max(len(row.prompt) for row in rows)
            ids = torch.tensor([[0] * (longest - len(row.prompt)) + row.prompt for row in rows])
            mask = torch.tensor([[0] * (longest - len(row.prompt)) + [1] * len(row.prompt) for row in rows])
            new = max(row.new_tokens for row in rows)
            config = GenerationConfig(max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0)
            loaded.model.generate(
                input_ids=ids.to(loaded.device), attention_mask=mask.to(loaded.device), generation_config=config
            )

    return _with_attention(loaded, "sdpa", run)


def transformers_run(loaded: LoadedModel, requests: Sequence[Request]) -> Contender:
    """Transformers' own continuous batching; no end token, so that every request gets all its tokens."""

    def run() -> None:
        config = GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0, max_new_tokens=128)
        with loaded.model.continuous_batching_context_manager(
            generation_config=config, block=True, timeout=5
        ) as manager:
            for request in requests:
                manager.add_request(request.prompt, max_new_tokens=request.new_tokens)
            for _ in requests:
                while manager.get_result(timeout=1) is None:
                    pass

    return _with_attention(loaded, "sdpa", run)


def _with_attention(loaded: LoadedModel, name: str, run: Callable[[], object]) -> Contender:
    def measured() -> Seconds:
        loaded.model.set_attn_implementation(name)
        return timed(run)

    return measured


def kept(quiet: Mapping[str, list[Seconds]], beside: Mapping[str, list[Seconds]]) -> dict[str, float]:
    """What part of its quiet speed each has beside neighbours, of the medians."""
    return {
        name: statistics.median(each.wall for each in runs) / statistics.median(each.wall for each in beside[name])
        for name, runs in quiet.items()
    }


def report(
    title: str,
    generated: Mapping[str, int],
    measured: Mapping[str, list[Seconds]],
    kept: Mapping[str, float] | None = None,
    **more: float,
) -> None:
    """A table of medians, and all as a line of JSON; `kept` is of a quiet machine's speed."""
    wall = {name: statistics.median(each.wall for each in runs) for name, runs in measured.items()}
    cpu = {name: statistics.median(each.cpu for each in runs) for name, runs in measured.items()}
    columns = ("seconds (median)", "generated tokens/s", "x the engine's time", "x its processor time")
    table = Table("contender", *columns, *(("x its quiet speed",) if kept else ()), title=title)
    for name, median in wall.items():
        ratios = f"{median / wall['engine']:.2f}", f"{cpu[name] / cpu['engine']:.2f}"
        part = (f"{kept[name]:.2f}",) if kept else ()
        table.add_row(name, f"{median:.2f}", f"{generated[name] / median:.0f}", *ratios, *part)
    Console().print(table)
    seconds = {name: [each.wall for each in runs] for name, runs in measured.items()}
    cpu_seconds = {name: [each.cpu for each in runs] for name, runs in measured.items()}
    told = {"title": title, "generated": generated, "seconds": seconds, "cpu_seconds": cpu_seconds, **more}
    if kept:
        told["kept"] = dict(kept)
    print(json.dumps(told))
