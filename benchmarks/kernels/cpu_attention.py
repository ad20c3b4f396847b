"""Attention of single queries over pages on a CPU: PyTorch's products of pages, and the C kernel.

    python -m benchmarks.kernels.cpu_attention [--heads QxKVxDIM ...] [--rows N ...] [--context N] [--shared N ...]
                                               [--dtype bfloat16|float32] [--threads N]

Each row has `--context` tokens of its own and `--shared` tokens that all look at. A figure is what a step takes for
one of many layers, so that its keys and values come from memory: a median in microseconds. Prints a table and JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from pelton.workers.engine.attention.decode import PageAttention
from pelton.workers.engine.attention.kv_cache import KVCache, KVCacheSpec
from pelton.workers.engine.attention.native_decode import NativeAttention
from pelton.workers.engine.attention.packed_batch import PackedBatch, RowSpan
from pelton.workers.engine.attention.params import AttentionParams
from pelton.workers.engine.attention.quantised_kv import kv_cache
from pelton.workers.engine.native.kernels import kernels_for

HEADS, ROWS, SHARED = [(9, 3, 64), (32, 2, 128)], [1, 8, 32], [0, 1024]
LAYERS, STEPS, PAGE = 16, 6, 64
CPU = torch.device("cpu")

Attention = PageAttention | NativeAttention


def filled(heads: tuple[int, int, int], pages: int, dtype: torch.dtype, kept: torch.dtype | None) -> KVCache:
    store = kv_cache(KVCacheSpec(LAYERS, *heads[1:], kept), pages, PAGE, dtype=dtype, device=CPU)
    for layer in range(LAYERS):
        for each in (store.keys[layer], store.values[layer]):
            each.normal_() if kept is None else each.random_(-127, 128)
    return store


def batch_of(rows: int, context: int, shared: int, store: KVCache) -> PackedBatch:
    """Rows of a step, each with pages of its own in disorder behind those of all."""
    own, common = -(-context // PAGE), shared // PAGE
    order = np.random.default_rng(0).permutation(store.num_pages)
    spans = []
    for row in range(rows):
        mine = order[common + row * own : common + (row + 1) * own]
        spans.append(RowSpan(row, common * PAGE + context - 1, 1, np.concatenate((order[:common], mine))))
    return PackedBatch.pack(np.zeros(rows, dtype=np.int64), spans, np.arange(rows), store)


def microseconds(make: Callable[[], Attention], heads: tuple[int, int, int], rows: int, dtype: torch.dtype) -> float:
    """The median over all layers of a few steps, of which the first is not counted."""
    asked, stored, dim = heads
    joined, scoring = torch.randn(rows, asked + 2 * stored, dim).to(dtype), AttentionParams(dim**-0.5)
    queries, keys, values = joined.split_with_sizes((asked, stored, stored), dim=1)
    seconds = []
    for step in range(STEPS):
        attention = make()
        for layer in range(LAYERS):
            started = time.perf_counter()
            attention.attend(layer, queries, keys, values, scoring)
            if step:
                seconds.append(time.perf_counter() - started)
    return statistics.median(seconds) * 1e6


@torch.inference_mode()
def measure(heads: tuple[int, int, int], rows: int, shared: int, context: int, dtype: torch.dtype) -> dict[str, Any]:
    times = {}
    for kept, name in ((None, str(dtype).removeprefix("torch.")), (torch.int8, "int8")):
        pages = rows * -(-context // PAGE) + shared // PAGE
        store = filled(heads, pages, dtype, kept)
        batch = batch_of(rows, context, shared, store)
        for way, make in ways(batch, store):
            times[f"{name}, {way}"] = round(microseconds(make, heads, rows, dtype))
    return {"heads": "x".join(map(str, heads)), "rows": rows, "shared": shared, "microseconds": times}


def ways(batch: PackedBatch, store: KVCache) -> Iterator[tuple[str, Callable[[], Attention]]]:
    yield "pages", partial(PageAttention, batch, store)
    kernels = kernels_for(store.dtype, store.device)
    if kernels is not None:
        yield "kernel", partial(NativeAttention, batch, store, kernels)


def sizes(heads: str) -> tuple[int, int, int]:
    """Query heads, KV heads and their size; raises ValueError."""
    asked, stored, dim = map(int, heads.split("x"))
    return asked, stored, dim


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", nargs="+", type=sizes, default=HEADS, metavar="QxKVxDIM")
    parser.add_argument("--rows", nargs="+", type=int, default=ROWS)
    parser.add_argument("--context", type=int, default=300)
    parser.add_argument("--shared", nargs="+", type=int, default=SHARED)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--threads", type=int)
    asked = parser.parse_args()
    if asked.threads is not None:
        torch.set_num_threads(asked.threads)
    dtype = getattr(torch, asked.dtype)
    cases = track(list(product(asked.heads, asked.rows, asked.shared)), "Attending", console=Console(stderr=True))
    found = [measure(heads, rows, shared, asked.context, dtype) for heads, rows, shared in cases]
    names = list(found[0]["microseconds"])
    table = Table("heads", "rows", "shared", *names, title=f"microseconds of a layer, {asked.context} own tokens each")
    for each in found:
        times = each["microseconds"]
        table.add_row(each["heads"], str(each["rows"]), str(each["shared"]), *(f"{times[name]:,}" for name in names))
    Console().print(table)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
