"""An engine under random requests for minutes, short of memory for all of them: nothing may leak, break or be wrong.

    python -m benchmarks.engine.gpu_soak [--seconds 600] [--seed N] [--dtype float32] [--dry]

Requests come at random times, with random lengths, shared beginnings, and all ways of choosing; one in ten is
cancelled. Pages hold less than all running ones want, so that some are always preempted. At the end:

- every request has ended once, by its answer or by its cancel, and none with a NaN;
- all pages are free, and the device's memory is what it was after a quarter of the time;
- greedy answers, some of them, are computed again by another engine, each with few neighbours and no prefix cache, and
  are the same up to where the two likeliest tokens were closer than the data type can tell.

Prints `RESULT {...}`, and fails where one of these does not hold. `--dry` is for a CPU.
"""

import argparse
import json
import logging
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import LlamaConfig

from benchmarks.engine.gpu import KERNELS
from benchmarks.engine.gpu_workloads import make_model
from pelton.workers.engine.api import Completion, EngineRequest, Failure, FailureKind, Outcome, SamplingParams
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.layers.fused_linear import fuse_linears
from pelton.workers.engine.model.loading import LoadedModel, wrap
from pelton.workers.engine.model.supported import kv_shape
from pelton.workers.engine.offline import Engine

VOCAB, AGAIN, CANCELLED = 4_000, 40, 0.1
NEAR = {torch.float32: 1e-3, torch.bfloat16: 0.3}
"""Differences of log-probabilities that rounding may turn around."""
GROWTH_MIB = 64


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a run is: layers and width of the model, tokens of a request, requests at once."""

    layers: int
    hidden: int
    most_tokens: int
    running: int


CARD, DRY = Sizes(8, 1024, 1500, 256), Sizes(2, 64, 120, 8)


@dataclass(slots=True)
class Story:
    """What went in and what came out; `idle_mib` is the device's memory after a quarter of the time."""

    requests: dict[int, EngineRequest] = field(default_factory=dict)
    cancelled: set[int] = field(default_factory=set)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    quarter_mib: float | None = None
    steps: int = 0

    def take(self, outcomes: Sequence[Outcome]) -> None:
        for each in outcomes:
            if each.request_id in self.outcomes:
                raise RuntimeError(f"request {each.request_id} ended twice")
            self.outcomes[each.request_id] = each


def make_loaded(sizes: Sizes, device: str, dtype: torch.dtype) -> LoadedModel:
    """Weights so large that attention decides, and the likeliest token is clear."""
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=sizes.hidden, intermediate_size=2 * sizes.hidden, num_attention_heads=8,
        num_hidden_layers=sizes.layers, num_key_value_heads=4, head_dim=max(16, sizes.hidden // 8),
        max_position_embeddings=4096, initializer_range=0.1, eos_token_id=None, tie_word_embeddings=False,
    )  # fmt: skip
    model = make_model(config, device, dtype)
    fuse_linears(model)
    return wrap(model)


def make_engine(loaded: LoadedModel, sizes: Sizes, part: float, **limits: Any) -> Engine:
    """With pages for a part of what all running requests want on the average."""
    page = 16 if sizes is DRY else 64
    token_bytes = kv_shape(loaded.model.config).page_bytes(page, loaded.dtype) / page
    wanted = sizes.running * sizes.most_tokens * token_bytes
    return Engine(
        loaded,
        ContinuousConfig(
            max_running=sizes.running,
            page_size=page,
            kv_memory_gib=part * wanted / 2**30,
            kernel_cache=KERNELS,
            **limits,
        ),
    )


def make_request(index: int, dice: random.Random, sizes: Sizes) -> EngineRequest:
    """One in three begins with one of four common texts."""
    length = int(dice.paretovariate(1.2) * sizes.most_tokens / 20)
    own = random.Random(index)
    common = random.Random(dice.randrange(4))
    shared = dice.choice((0, 0, sizes.most_tokens // 5))
    prompt = [common.randrange(VOCAB) for _ in range(shared)]
    prompt += [own.randrange(VOCAB) for _ in range(1 + min(length, sizes.most_tokens // 2))]
    new = dice.randint(1, sizes.most_tokens // 4)
    ways: tuple[dict[str, Any], ...] = (
        {"temperature": 0.0, "logprobs": 3}, {"temperature": 0.8}, {"temperature": 1.0, "top_p": 0.9},
        {"temperature": 0.7, "top_k": 40, "min_p": 0.01}, {"temperature": 0.0, "presence_penalty": 0.5},
    )  # fmt: skip
    way = ways[0] if dice.random() < 0.5 else dice.choice(ways)
    return EngineRequest(
        index, prompt, SamplingParams(new, seed=index, ignore_eos=True, **way), priority=dice.randrange(2)
    )


def live(engine: Engine, sizes: Sizes, seconds: float, dice: random.Random) -> Story:
    """Requests for so long, then until all have ended."""
    story = Story()
    started = time.monotonic()
    while (past := time.monotonic() - started) < seconds or engine.running:
        if past < seconds and engine.running < sizes.running and dice.random() < 0.7:
            for _ in range(dice.randint(1, max(1, sizes.running // 8))):
                request = make_request(len(story.requests), dice, sizes)
                story.requests[request.id] = request
                engine.add(request)
                if dice.random() < CANCELLED:
                    story.cancelled.add(request.id)
        for index in [index for index in story.cancelled if index not in story.outcomes and dice.random() < 0.05]:
            engine.cancel(index)
        story.take(engine.step())
        story.steps += 1
        if story.quarter_mib is None and past > seconds / 4:
            story.quarter_mib = memory_mib()
    return story


def memory_mib() -> float:
    """Of the device; the most that the process has had, where there is none."""
    if torch.cuda.is_available():
        return torch.cuda.memory_reserved() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def faults(story: Story) -> list[str]:
    """Requests that did not end as they must."""
    found = [f"request {index} has not ended" for index in story.requests.keys() - story.outcomes.keys()]
    for index, outcome in story.outcomes.items():
        if isinstance(outcome, Failure):
            if outcome.kind is not FailureKind.CANCELLED or index not in story.cancelled:
                found.append(f"request {index} failed: {outcome.message}")
        elif len(outcome.token_ids) != story.requests[index].params.max_tokens:
            found.append(f"request {index} has {len(outcome.token_ids)} tokens")
    return found


def compare(first: Completion, second: Completion, near: float) -> str | None:
    """Where two greedy answers part without a near tie; None where they do not."""
    for place, (one, other) in enumerate(zip(first.logprobs or (), second.logprobs or (), strict=True)):
        if one.token_id == other.token_id:
            continue
        margin = abs(one.logprob - dict(one.top).get(other.token_id, -float("inf")))
        if margin < near or abs(other.logprob - dict(other.top).get(one.token_id, -float("inf"))) < near:
            return None
        return f"request {first.request_id} says {one} and {other} at {place}"
    return None


def computed_again(engine: Engine, story: Story, near: float, dice: random.Random) -> list[str]:
    """Faults among some of the greedy answers; the engine is another, and has few at once."""
    greedy = [each for each in story.outcomes.values() if isinstance(each, Completion) and each.logprobs is not None]
    chosen = dice.sample(greedy, min(AGAIN, len(greedy)))
    requests = [story.requests[each.request_id] for each in chosen]
    found = engine.generate([each.prompt for each in requests], [each.params for each in requests])
    return [told for one, other in zip(chosen, found, strict=True) if (told := compare(one, other, near))]


def soak(sizes: Sizes, device: str, dtype: torch.dtype, seconds: float, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Figures and faults."""
    loaded = make_loaded(sizes, device, dtype)
    engine = make_engine(loaded, sizes, part=0.2)
    engine.warm_up()
    dice = random.Random(seed)
    story = live(engine, sizes, seconds, dice)
    found = faults(story)
    engine.step()  # which counts pages anew
    stats = engine.last_step.kv_cache if engine.last_step else None
    if stats is not None and stats.pages_used:
        found.append(f"{stats.pages_used} pages are not free")
    grown = memory_mib() - (story.quarter_mib or 0.0)
    if device == "cuda" and grown > GROWTH_MIB:
        found.append(f"the device's memory has grown by {grown:.0f} MiB")
    if not engine.preemptions:
        found.append("nothing was preempted: there was too much memory to show anything")
    again = make_engine(loaded, Sizes(sizes.layers, sizes.hidden, sizes.most_tokens, 4), part=1.0, prefix_cache=False)
    found += computed_again(again, story, NEAR[dtype], dice)
    ends = Counter(each.kind.name if isinstance(each, Failure) else "answered" for each in story.outcomes.values())
    tokens = sum(len(each.token_ids) for each in story.outcomes.values() if isinstance(each, Completion))
    figures = {
        "requests": len(story.requests), **ends, "tokens": tokens, "steps": story.steps,
        "preemptions": engine.preemptions, "grown_mib": grown, "faults": len(found),
    }  # fmt: skip
    return figures, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--dry", action="store_true")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
    sizes, device = (DRY, "cpu") if asked.dry else (CARD, "cuda")
    figures, found = soak(sizes, device, getattr(torch, asked.dtype), 3 if asked.dry else asked.seconds, asked.seed)
    print("RESULT", json.dumps(figures), flush=True)
    for each in found[:20]:
        print(each)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
