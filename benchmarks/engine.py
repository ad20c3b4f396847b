"""The engine by itself, beside its peers and beside its own bound.

    python -m benchmarks.engine --workload mixed|prefix|growth [--device cpu|cuda] [--runs N] [--threads N]

mixed   48 requests of 20-240 prompt and 8-128 generated tokens: Pelton's engine, transformers' `generate` in padded
        batches of 16, transformers' continuous batching, and the bound: the engine's own steps with attention left out.
prefix  one filing of 1,000 tokens and 64 questions about it, answers of 32 tokens: with the prefix cache and without.
growth  the mixed workload once and ten times over: time per request and memory must stay what they were.

Everything runs in turn in one process, `--runs` times; medians are compared. Prints a table and the same as JSON. On a
machine that others use too, `--threads 1` and the processor's seconds (`cpu_seconds`) are the fairer measure.
"""

import argparse
import json
import random
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import GenerationConfig

from pipeline.paths import cache_dir
from workers.engine.api import SamplingParams
from workers.engine.kv_memory import ContinuousConfig
from workers.engine.loading import LoadedModel, ModelSpec, load
from workers.engine.offline import Engine
from workers.engine.page_attention import Scoring
from workers.engine.runner import PackedRunner
from workers.engine.step_batch import StepBatch
from workers.engine.torch_attention import ATTENTION

FILING_TOKENS, QUESTIONS, QUESTION_TOKENS, ANSWER_TOKENS = 1_000, 64, 24, 32
PADDED_ROWS = 16


@dataclass(frozen=True, slots=True)
class Seconds:
    """What a run took: by the clock, and of all processors together."""

    wall: float
    cpu: float


Contender = Callable[[], Seconds]


@dataclass(frozen=True, slots=True)
class Request:
    prompt: list[int]
    new_tokens: int

    @property
    def params(self) -> SamplingParams:
        return SamplingParams(self.new_tokens, temperature=0.0, ignore_eos=True)


def mixed(vocab: int, times: int = 1) -> list[Request]:
    """The workload of 48 requests, `times` over, with fresh tokens each time so that no prefix cache helps."""
    shapes, tokens = random.Random(0), random.Random(1)
    sizes = [(shapes.randint(20, 240), shapes.randint(8, 128)) for _ in range(48)]
    return [Request([tokens.randrange(100, vocab) for _ in range(p)], new) for _ in range(times) for p, new in sizes]


def questions(vocab: int) -> list[Request]:
    tokens = random.Random(2)
    filing = [tokens.randrange(100, vocab) for _ in range(FILING_TOKENS)]
    return [
        Request([*filing, *(tokens.randrange(100, vocab) for _ in range(QUESTION_TOKENS))], ANSWER_TOKENS)
        for _ in range(QUESTIONS)
    ]


def timed(work: Callable[[], object]) -> Seconds:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def engine_run(loaded: LoadedModel, requests: Sequence[Request], **limits: Any) -> Contender:
    """A fresh engine each time: nothing is cached from the run before."""

    def run() -> Seconds:
        engine = Engine(loaded, ContinuousConfig(**limits))
        return timed(lambda: engine.generate([r.prompt for r in requests], [r.params for r in requests]))

    return run


class _NoAttention:
    """Gives each layer values of the right shape for nothing."""

    def attend(self, _layer: int, queries: torch.Tensor, *_: torch.Tensor | Scoring) -> torch.Tensor:
        return queries.contiguous()


def bound_run(loaded: LoadedModel, requests: Sequence[Request]) -> Contender:
    """The steps that the engine takes for these requests, as forward passes without attention, pages or sampling."""
    engine = Engine(loaded, ContinuousConfig())
    batches: list[StepBatch] = []
    forward = PackedRunner.forward

    def record(self: PackedRunner, batch: StepBatch, attention: Any) -> torch.Tensor:
        batches.append(batch)
        return forward(self, batch, attention)

    PackedRunner.forward = record  # type: ignore[method-assign]
    engine.generate([r.prompt for r in requests], [r.params for r in requests])
    PackedRunner.forward = forward  # type: ignore[method-assign]
    runner = PackedRunner(loaded.model, engine._store)  # noqa: SLF001 (it is not used: no attention)

    @torch.inference_mode()
    def run() -> None:
        for batch in batches:
            runner.forward(batch, _NoAttention()).argmax(dim=-1)

    return lambda: timed(run)


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
        try:
            return timed(run)
        finally:
            loaded.model.set_attn_implementation(ATTENTION)

    return measured


def compare(contenders: Mapping[str, Contender], runs: int) -> dict[str, list[Seconds]]:
    """Seconds of each, taken in turn so that a slow minute of the machine hits all."""
    measured: dict[str, list[Seconds]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, contender in contenders.items():
            measured[name].append(contender())
    return measured


def report(title: str, generated: Mapping[str, int], measured: Mapping[str, list[Seconds]], **more: float) -> None:
    wall = {name: statistics.median(each.wall for each in runs) for name, runs in measured.items()}
    cpu = {name: statistics.median(each.cpu for each in runs) for name, runs in measured.items()}
    columns = ("seconds (median)", "generated tokens/s", "x the engine's time", "x its processor time")
    table = Table("contender", *columns, title=title)
    for name, median in wall.items():
        ratios = f"{median / wall['engine']:.2f}", f"{cpu[name] / cpu['engine']:.2f}"
        table.add_row(name, f"{median:.2f}", f"{generated[name] / median:.0f}", *ratios)
    Console().print(table)
    seconds = {name: [each.wall for each in runs] for name, runs in measured.items()}
    cpu_seconds = {name: [each.cpu for each in runs] for name, runs in measured.items()}
    told = {"title": title, "generated": generated, "seconds": seconds, "cpu_seconds": cpu_seconds, **more}
    print(json.dumps(told))


def run_mixed(loaded: LoadedModel, runs: int) -> None:
    requests = mixed(loaded.model.config.vocab_size)
    contenders = {
        "engine": engine_run(loaded, requests),
        "bound (body only)": bound_run(loaded, requests),
        "padded generate of 16": padded_run(loaded, requests),
        "transformers continuous": transformers_run(loaded, requests),
    }
    tokens = sum(request.new_tokens for request in requests)
    report("48 mixed requests", dict.fromkeys(contenders, tokens), compare(contenders, runs))


def run_prefix(loaded: LoadedModel, runs: int) -> None:
    requests = questions(loaded.model.config.vocab_size)
    contenders = {
        "engine": engine_run(loaded, requests),
        "prefix cache off": engine_run(loaded, requests, prefix_cache=False),
    }
    tokens = QUESTIONS * ANSWER_TOKENS
    report("64 questions, one filing", dict.fromkeys(contenders, tokens), compare(contenders, runs))


def run_growth(loaded: LoadedModel, runs: int) -> None:
    vocab = loaded.model.config.vocab_size
    once, tenfold = mixed(vocab), mixed(vocab, times=10)
    tokens = sum(request.new_tokens for request in once)
    engine = engine_run(loaded, once)
    engine()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = compare({"engine": engine, "ten times as many": engine_run(loaded, tenfold)}, runs)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    generated = {"engine": tokens, "ten times as many": 10 * tokens}
    report("growth", generated, seconds, peak_memory_grown_mib=grown / 1024)


WORKLOADS = {"mixed": run_mixed, "prefix": run_prefix, "growth": run_growth}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=WORKLOADS, default="mixed")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float32", "float16"), default="bfloat16")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of PyTorch; default: one for each core")
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    loaded = load(ModelSpec(asked.model, dtype=asked.dtype, device=asked.device), cache_dir() / "models")
    WORKLOADS[asked.workload](loaded, asked.runs)


if __name__ == "__main__":
    main()
