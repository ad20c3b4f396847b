"""The engine on a GPU, beside what the card can do and beside its peers. Needs only PyTorch and transformers.

    python -m benchmarks.engine --device cuda [--workload A|A8] [--runs N] [--requests N] [--profile] [--no-peers]

A    Qwen3-0.6B's architecture with random weights; 256 requests at once, prompts of 100-1024 random tokens, 100-1024
     generated ones each whatever they are: the shape of nano-vllm's `bench.py`.
A8   the same requests on Llama-3-8B's architecture.

The card's copy rate and matrix rate are measured first; the bound that follows from them is the least time for keys and
values, weights and prompts (`gpu_workloads.Bound`). Peers run on the same requests, transformers on the first 64
of them; vLLM where it is installed. `--profile` says where a step's time goes. Prints a table and the same as JSON.
"""

import argparse
import gc
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine.gpu_peaks import Card
from benchmarks.engine.gpu_peers import PEERS, Peer
from benchmarks.engine.gpu_profile import profile_steps
from benchmarks.engine.gpu_workloads import CONFIGS, REQUESTS, Bound, make_model, make_requests
from benchmarks.engine.workloads import Request
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.layers.fused_linear import fuse_linears
from pelton.workers.engine.model.loading import wrap
from pelton.workers.engine.offline import Engine

WORKLOADS = ("A", "A8")
KERNELS = Path(tempfile.gettempdir()) / "pelton-kernels"


def make_engine(config: Any, max_batch_tokens: int | None, device: str = "cuda") -> tuple[Engine, float]:
    """A warm engine, and the seconds from the model to there."""
    model = make_model(config, device)
    fuse_linears(model)  # as `loading.load` does
    started = time.perf_counter()
    # Prompts are random and come again in every run: what a run leaves behind must not help the next one.
    limits = ContinuousConfig(max_batch_tokens=max_batch_tokens, prefix_cache=False, kernel_cache=KERNELS)
    engine = Engine(wrap(model), limits)
    engine.warm_up()
    return engine, time.perf_counter() - started


def engine_seconds(engine: Engine, requests: Sequence[Request], temperature: float = 0.0) -> float:
    """Seconds from handing in all requests to having all answers; raises if one is short of tokens."""
    started = time.perf_counter()
    params = [replace(each.params, temperature=temperature) for each in requests]
    completions = engine.generate([each.prompt for each in requests], params)
    seconds = time.perf_counter() - started
    if [len(each.token_ids) for each in completions] != [each.new_tokens for each in requests]:
        raise RuntimeError("an answer is not as long as it was asked for")
    return seconds


def measure(workload: str, asked: argparse.Namespace, card: Card) -> dict[str, Any]:
    """All figures of a workload."""
    config, requests = CONFIGS[workload], make_requests(asked.requests)
    generated = sum(each.new_tokens for each in requests)
    peers = {} if asked.no_peers else {name: run_peer(peer, config, requests) for name, peer in PEERS.items()}
    engine, warm_s = make_engine(config, asked.max_batch_tokens)
    seconds = [engine_seconds(engine, requests) for _ in range(asked.runs)]
    drawn = engine_seconds(engine, requests, temperature=0.6)
    bound = Bound.of(config, requests, card)
    result = {
        "workload": workload,
        "requests": len(requests),
        "prompt_tokens": sum(len(each.prompt) for each in requests),
        "generated": generated,
        "card": {"name": card.name, "copy_bytes_per_s": card.copy, "matrix_flops_per_s": card.matrix},
        "bound": {
            "seconds": bound.seconds,
            "prefill": bound.prefill_s,
            "weights": bound.weights_s,
            "keys": bound.keys_s,
        },
        "tokens_per_s": {
            "bound": generated / bound.seconds,
            "engine": generated / statistics.median(seconds),
            "engine, temperature 0.6": generated / drawn,
            **peers,
        },
        "engine_seconds": seconds,
        "warm_up_s": warm_s,
        "memory_gib": torch.cuda.max_memory_allocated() / 2**30,
        "versions": {"torch": torch.__version__, "python": sys.version.split()[0]},
    }
    if asked.profile:
        result["profile"] = profile_steps(engine, requests)
    return result


def run_peer(peer: Peer, config: Any, requests: list[Request]) -> float | str:
    """Generated tokens per second, or why there are none; memory is given back."""
    try:
        return peer(config, requests)
    except Exception as error:  # noqa: BLE001 (a peer that fails is told of, and costs nobody else)
        return f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def report(result: dict[str, Any]) -> None:
    rates = result["tokens_per_s"]
    card = result["card"]
    print(f"\n{result['workload']}: {result['requests']} requests, {result['generated']} tokens generated")
    print(
        f"{card['name']}: {card['copy_bytes_per_s'] / 1e12:.2f} TB/s copied, "
        f"{card['matrix_flops_per_s'] / 1e12:.0f} TFLOP/s multiplied; warm after {result['warm_up_s']:.0f} s"
    )
    print(f"{'':<44}{'tokens/s':>10}{'of the bound':>14}{'x the engine':>14}")
    for name, rate in rates.items():
        if isinstance(rate, str):
            print(f"{name:<44}  {rate}")
        else:
            print(f"{name:<44}{rate:>10.0f}{rate / rates['bound']:>13.0%}{rate / rates['engine']:>14.2f}")
    for part in result.get("profile", ()):
        print(f"\n{part['title']}: {part['step_ms']:.2f} ms a step, the device idle for {part['idle']:.1%} of it")
        for kernel in part["kernels"]:
            print(f"  {kernel['ms']:>8.3f} ms {kernel['calls']:>7.1f} x  {kernel['name'][:90]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda",), default="cuda")
    parser.add_argument("--workload", choices=WORKLOADS, action="append", help="default: all")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="only the first so many")
    parser.add_argument("--max-batch-tokens", type=int)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--json", type=Path, help="a file for the figures, beside the line printed")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    card = Card.measure()
    results = []
    for workload in asked.workload or WORKLOADS:
        results.append(measure(workload, asked, card))
        report(results[-1])
        gc.collect()
        torch.cuda.empty_cache()
    print(json.dumps(results))
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
