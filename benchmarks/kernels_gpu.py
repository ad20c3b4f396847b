"""The engine's kernels on a GPU, each beside the card's own rate, for several ways of launching them.

    python -m benchmarks.kernels_gpu

decode   reads all keys and values of 256 sequences: equal contexts of 832 tokens, and contexts of 100-2000; few
         sequences with long ones; one long text among short ones. Bytes read per second beside the copy rate, for
         numbers of items (`kernels/splits.py`), warps and stages.
prefill  chunks of 8,192 tokens. Operations per second beside the matrix rate.
argmax   of 256 rows of 151,936 logits, beside PyTorch's. Bytes read per second.

The launch that the engine would choose is marked; where another one is clearly faster, it should choose that.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.engine.gpu_peaks import Card, median_ms
from pelton.workers.engine.attention.params import AttentionParams
from pelton.workers.engine.cuda.kernels.argmax import likeliest
from pelton.workers.engine.cuda.kernels.decode import decode_attention, launch_for
from pelton.workers.engine.cuda.kernels.prefill import block_tokens, cut_blocks, prefill_attention
from pelton.workers.engine.cuda.kernels.prefill import launch_for as prefill_launch
from pelton.workers.engine.cuda.kernels.splits import Splits, most_splits, plan_splits

PAGE, DIM = 64, 128
SCORING = AttentionParams(DIM**-0.5)


@dataclass(frozen=True, slots=True)
class Pages:
    """Pages of random keys and values, in disorder, for sequences of given lengths."""

    keys: Tensor
    values: Tensor
    tables: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], kv_heads: int) -> "Pages":
        each = [-(-length // PAGE) for length in lengths]
        order = torch.randperm(sum(each), device="cuda")
        tables = torch.zeros(len(lengths), max(each), dtype=torch.int64, device="cuda")
        for row, (start, count) in enumerate(zip(itertools.accumulate([0, *each]), each, strict=False)):
            tables[row, :count] = order[start : start + count]
        shape = sum(each), kv_heads, PAGE, DIM
        keys, values = (torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        return cls(keys, values, tables)


def decode(title: str, lengths: Sequence[int], heads: int, kv_heads: int, card: Card) -> None:
    pages = Pages.of(lengths, kv_heads)
    queries = torch.randn(len(lengths), heads, DIM, device="cuda", dtype=torch.bfloat16)
    slots = torch.arange(len(lengths), device="cuda")
    positions = torch.tensor(lengths, device="cuda") - 1
    keys, values = (torch.randn(len(lengths), kv_heads, DIM, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(queries)
    read = 2 * sum(lengths) * kv_heads * DIM * 2
    usual = most_splits(len(lengths), kv_heads), launch_for(pages.keys)
    print(f"\ndecode, {title}: {read / 1e9:.2f} GB")
    for part, warps, stages in itertools.product((0.5, 1, 2, 4), (1, 2, 4), (1, 2, 3, 4, 5)):
        most = max(len(lengths), int(usual[0] * part))
        splits = Splits(*(torch.from_numpy(each).cuda() for each in plan_splits(np.array(lengths) - 1, PAGE, most)))
        launch = {"num_warps": warps, "num_stages": stages}
        where = pages.keys, pages.values, pages.tables, slots, slots, positions, splits
        ms = median_ms(partial(decode_attention, queries, keys, values, *where, out, SCORING, launch))
        share = f"{read / ms * 1e3 / card.copy:>4.0%} of the copy rate{_mark((most, launch) == usual)}"
        print(f"  {len(splits.items):>4} items, {warps} warps, {stages} stages: {ms:>7.3f} ms, {share}")


def _mark(usual: bool) -> str:
    return "  <- the engine's" if usual else ""


def prefill(title: str, chunks: Sequence[int], heads: int, kv_heads: int, card: Card) -> None:
    pages = Pages.of(chunks, kv_heads)
    rows = sum(chunks)
    queries = torch.randn(rows, heads, DIM, device="cuda", dtype=torch.bfloat16)
    out = torch.empty_like(queries)
    starts = itertools.accumulate([0, *chunks])
    told = np.array([(slot, row, 0, count) for slot, (row, count) in enumerate(zip(starts, chunks, strict=False))])
    tokens = block_tokens(heads // kv_heads, DIM, 2)
    blocks = torch.from_numpy(cut_blocks(told, tokens)).cuda()
    flops = sum(2 * heads * DIM * count**2 for count in chunks)
    print(f"\nprefill, {title}: {flops / 1e12:.3f} TFLOP")
    for warps, stages in itertools.product((4, 8), (1, 2, 3, 4, 5)):
        way = {"num_warps": warps, "num_stages": stages}
        run = partial(prefill_attention, queries, pages.keys, pages.values, pages.tables, blocks, out, SCORING, way)
        ms = median_ms(run)
        share = f"{flops / ms * 1e3 / card.matrix:>4.0%} of the matrix rate{_mark(way == prefill_launch(pages.keys))}"
        print(f"  {warps} warps, {stages} stages: {ms:>7.3f} ms, {share}")


def argmax(card: Card) -> None:
    logits = torch.randn(256, 151_936, device="cuda", dtype=torch.bfloat16)
    read = logits.numel() * 2
    print("\nargmax")
    for name, ms in (
        ("ours", median_ms(lambda: likeliest(logits))),
        ("PyTorch's", median_ms(lambda: logits.argmax(dim=-1))),
    ):
        print(f"  {name:<10} {ms:>7.3f} ms, {read / ms * 1e3 / card.copy:>4.0%} of the copy rate")


def main() -> None:
    card = Card.measure()
    print(f"{card.name}: {card.copy / 1e12:.2f} TB/s copied, {card.matrix / 1e12:.0f} TFLOP/s multiplied")
    sizes = random.Random(0)
    mixed = [sizes.randint(100, 2000) for _ in range(256)]
    decode("Qwen3-0.6B, 256 of 832", [832] * 256, 16, 8, card)
    decode("Qwen3-0.6B, 256 of 100-2000", mixed, 16, 8, card)
    decode("Llama-3-8B, 256 of 100-2000", mixed, 32, 8, card)
    decode("Qwen3-0.6B, one of 32,768 and 255 of 100-2000", [32_768, *mixed[1:]], 16, 8, card)
    decode("Llama-3-8B, 16 of 832", [832] * 16, 32, 8, card)
    decode("Llama-3-8B, 1 of 8192", [8192], 32, 8, card)
    prefill("Qwen3-0.6B, 16 of 512", [512] * 16, 16, 8, card)
    prefill("Llama-3-8B, 1 of 8192", [8192], 32, 8, card)
    argmax(card)


if __name__ == "__main__":
    main()
