"""Cases of a workload on one warm engine on a GPU; each prints its figures as soon as it has them.

    python -m benchmarks.engine.gpu_cases --workload A|A8 CASE ... [--weights fp8] [--dependent] [--dry]

once, twice     the workload of `benchmarks/engine/gpu.py`, greedy
profile         where a step's time goes
temperature     the same requests sampled with temperature 0.6
top-p           and with top_p 0.9 besides
requests-1024   four times as many requests as run at once: prompts come in among decodes all the time
long-prompt     one prompt of 32,768 tokens beside 255 of the usual ones

A line `RESULT {...}` for each: generated tokens per second, steps, and the times between landings: the median, that of
one in a hundred and the longest. `--dependent` has kernels launched
dependently (`workers/engine/cuda/kernels/launching.py`). `--dry` computes tiny sizes on a CPU.
"""

import argparse
import json
import logging
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch._inductor import config as inductor

from benchmarks.engine.gpu import KERNELS
from benchmarks.engine.gpu_peaks import Card
from benchmarks.engine.gpu_profile import profile_steps
from benchmarks.engine.gpu_workloads import CONFIGS, LONG_PROMPT, Bound, long_request, make_model, make_requests, shrunk
from benchmarks.engine.workloads import Request
from pelton.workers.engine.api import Completion, EngineRequest
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.layers.fused_linear import fuse_linears
from pelton.workers.engine.model.loading import wrap
from pelton.workers.engine.model.quantised.precision import to_fp8
from pelton.workers.engine.offline import Engine

log = logging.getLogger(__name__)

DRY_REQUESTS = 6


@dataclass(frozen=True, slots=True)
class Bench:
    """A warm engine, how many requests it runs at once, and the card's rates (None on a CPU)."""

    engine: Engine
    most: int
    config: Any
    card: Card | None
    dry: bool

    def requests(self, count: int = 256) -> list[Request]:
        if not self.dry:
            return make_requests(count)
        return shrunk(make_requests(256)[: DRY_REQUESTS if count <= 256 else 4 * DRY_REQUESTS])


def drive(bench: Bench, requests: Sequence[Request], **params: Any) -> dict[str, float]:
    """All requests at once; raises RuntimeError for an answer that failed or is short."""
    engine, waiting = bench.engine, deque(enumerate(requests))
    running: dict[int, Request] = {}
    generated, mixed, gaps = 0, 0, []
    started = last = time.perf_counter()
    while waiting or running:
        while waiting and len(running) < bench.most:
            index, request = waiting.popleft()
            engine.add(EngineRequest(index, request.prompt, replace(request.params, seed=index, **params)))
            running[index] = request
        for outcome in engine.step():
            request = running.pop(outcome.request_id)
            if not isinstance(outcome, Completion) or len(outcome.token_ids) != request.new_tokens:
                raise RuntimeError(f"request {outcome.request_id} ended as {outcome}")
            generated += request.new_tokens
        now = time.perf_counter()
        gaps.append(now - last)
        last = now
        step = engine.last_step
        mixed += step is not None and step.computed_tokens > step.rows
    seconds = last - started
    gaps.sort()
    return {
        "tokens_per_s": generated / seconds,
        "seconds": seconds,
        "generated": generated,
        "steps": len(gaps),
        "mixed_steps": mixed,
        "gap_ms": statistics.median(gaps) * 1e3,
        "gap_ms_99th": gaps[int(len(gaps) * 0.99)] * 1e3,
        "gap_ms_longest": gaps[-1] * 1e3,
    }


def once(bench: Bench) -> dict[str, Any]:
    requests = bench.requests()
    told: dict[str, Any] = drive(bench, requests)
    if bench.card is not None:
        bound = Bound.of(bench.config, requests, bench.card).seconds
        told |= {"of_the_bound": bound / told["seconds"], "bound_tokens_per_s": told["generated"] / bound}
    return told


def twice(bench: Bench) -> dict[str, Any]:
    first = once(bench)
    return {"first_tokens_per_s": first["tokens_per_s"], **once(bench)}


def profiled(bench: Bench) -> dict[str, Any]:
    parts = profile_steps(bench.engine, bench.requests())
    for part in parts:
        print(f"{part['title']}: {part['step_ms']:.2f} ms a step, the device idle for {part['idle']:.1%} of it")
        for kernel in part["kernels"]:
            print(f"  {kernel['ms']:>8.3f} ms {kernel['calls']:>7.1f} x  {kernel['name'][:90]}")
    prompts, decode = parts
    return {
        "prompt_step_ms": prompts["step_ms"], "prompt_idle": prompts["idle"], "decode_step_ms": decode["step_ms"],
        "decode_idle": decode["idle"], "parts": parts,
    }  # fmt: skip


def long_prompt(bench: Bench) -> dict[str, Any]:
    length = 600 if bench.dry else LONG_PROMPT
    requests = [long_request(length, 8 if bench.dry else 256), *bench.requests()[:255]]
    return drive(bench, requests)


CASES: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "once": once,
    "twice": twice,
    "profile": profiled,
    "temperature": lambda bench: drive(bench, bench.requests(), temperature=0.6),
    "top-p": lambda bench: drive(bench, bench.requests(), temperature=0.6, top_p=0.9),
    "requests-1024": lambda bench: drive(bench, bench.requests(1024)),
    "long-prompt": long_prompt,
}


def prepare(workload: str, dry: bool, weights: str) -> Bench:
    """The engine as `loading.load` would leave it, warm; prints how long that took."""
    config = CONFIGS["dry" if dry else workload]
    card = None if dry else Card.measure()
    model = make_model(config, "cpu" if dry else "cuda", torch.float32 if dry else torch.bfloat16)
    fuse_linears(model)
    if weights == "fp8":
        to_fp8(model, model.device)
    started = time.perf_counter()
    # Prompts come again in every case: what one leaves behind must not help the next.
    limits = ContinuousConfig(prefix_cache=False, kernel_cache=KERNELS, kv_memory_gib=0.05 if dry else None)
    engine = Engine(wrap(model), limits)
    engine.warm_up()
    told: dict[str, Any] = {"case": "warm-up", "seconds": time.perf_counter() - started}
    if card is not None:
        told |= {"copy_tb_per_s": card.copy / 1e12, "matrix_tflop_per_s": card.matrix / 1e12}
        told |= {"memory_gib": torch.cuda.max_memory_allocated() / 2**30, "kv_tokens": engine.max_request_tokens}
    _tell(told)
    return Bench(engine, limits.on(model.device).max_running, config, card, dry)


def abandon(engine: Engine, ids: int) -> None:
    """Leave nothing behind of a case that failed."""
    for index in range(ids):
        engine.cancel(index)
    while engine.running:
        engine.step()


def _tell(figures: dict[str, Any]) -> None:
    print("RESULT", json.dumps(figures), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=("A", "A8"), default="A")
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--weights", choices=("auto", "fp8"), default="auto")
    parser.add_argument("--dependent", action="store_true")
    parser.add_argument("cases", nargs="+", choices=CASES)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stdout)
    inductor.triton.enable_pdl = asked.dependent
    bench = prepare(asked.workload, asked.dry, asked.weights)
    failed = []
    for name in asked.cases:
        try:
            _tell({"case": name, **CASES[name](bench)})
        except Exception:
            log.exception("%s failed", name)
            failed.append(name)
            abandon(bench.engine, ids=1024)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
