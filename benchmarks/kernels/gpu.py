"""The engine's kernels on a GPU, each beside the card's own rate, for several ways of launching them.

    python -m benchmarks.kernels.gpu

layers   attention of 28 layers as a graph replays it, between its two products: with norms and rotations before it, as
         TorchInductor compiles them, or inside it; launched one after the other, or dependently
         (`kernels/launching.py`). How far each one's answers are from the first's is said too. A line `RESULT {...}`.
decode   reads all keys and values of 256 sequences: equal contexts of 832 tokens, and contexts of 100-2000; few
         sequences with long ones; one long text among short ones. Bytes read per second beside the copy rate, for
         numbers of items (`kernels/splits.py`), warps and stages.
prefill  chunks of 8,192 tokens. Operations per second beside the matrix rate.
argmax   of 256 rows of 151,936 logits, beside PyTorch's. Bytes read per second.

The launch that the engine would choose is marked; where another one is clearly faster, it should choose that.
"""

import itertools
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch._inductor import config as inductor
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm, apply_rotary_pos_emb

from benchmarks.engine.gpu_peaks import Card, median_ms
from pelton.workers.engine.attention.params import AttentionParams
from pelton.workers.engine.cuda.kernels.argmax import likeliest
from pelton.workers.engine.cuda.kernels.decode import decode_attention, launch_for
from pelton.workers.engine.cuda.kernels.norm_rope import NormRope
from pelton.workers.engine.cuda.kernels.prefill import block_tokens, cut_blocks, prefill_attention
from pelton.workers.engine.cuda.kernels.prefill import launch_for as prefill_launch
from pelton.workers.engine.cuda.kernels.splits import Splits, most_splits, plan_splits

PAGE, DIM = 64, 128
LAYERS, HIDDEN = 28, 1024
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


class Layer:
    """Attention of a layer like Qwen3-0.6B's between its two products, for one token each of sequences of 832."""

    def __init__(self, rows: int, heads: int, kv_heads: int) -> None:
        lengths = [832] * rows
        self.pages = Pages.of(lengths, kv_heads)
        self.sizes = [heads, kv_heads, kv_heads]
        new = partial(torch.randn, device="cuda", dtype=torch.bfloat16)
        self.inward, self.outward = new(sum(self.sizes) * DIM, HIDDEN) / 32, new(HIDDEN, heads * DIM) / 32
        self.norms = [Qwen3RMSNorm(DIM).to("cuda", torch.bfloat16) for _ in range(2)]
        angles = torch.rand(rows, DIM // 2, device="cuda").repeat(1, 2)
        cosines, sines = angles.cos().bfloat16(), angles.sin().bfloat16()
        weights = [norm.weight.detach().float() for norm in self.norms]
        self.turn = NormRope(cosines, sines, False, weights[0], weights[1], self.norms[0].variance_epsilon)
        positions = np.array(lengths) - 1
        made = plan_splits(positions, PAGE, most_splits(rows, kv_heads))
        self.splits = Splits(*(torch.from_numpy(each).cuda() for each in made))
        self.slots, self.positions = torch.arange(rows, device="cuda"), torch.from_numpy(positions).cuda()

    def before(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """As transformers has it."""
        turned = self.norms[0](queries).transpose(0, 1)[None], self.norms[1](keys).transpose(0, 1)[None]
        queries, keys = apply_rotary_pos_emb(*turned, self.turn.cosines[None], self.turn.sines[None])
        return queries[0].transpose(0, 1), keys[0].transpose(0, 1)

    def forward(self, rows: Tensor, before: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None) -> Tensor:
        joined = torch.nn.functional.linear(rows, self.inward).unflatten(-1, (-1, DIM))
        queries, keys, values = joined.split_with_sizes(self.sizes, dim=1)
        pending: NormRope | None = self.turn
        if before is not None:
            (queries, keys), pending = before(queries, keys), None
        out = torch.empty(queries.shape, dtype=queries.dtype, device=queries.device)
        stores = self.pages.keys, self.pages.values, self.pages.tables
        where = self.slots, self.slots, self.positions
        decode_attention(queries, keys, values, *stores, *where, self.splits, out, SCORING, norm_rope=pending)
        return torch.nn.functional.linear(out.flatten(1), self.outward)


@torch.inference_mode()
def layers(rows: int, heads: int, kv_heads: int) -> None:
    layer, given = Layer(rows, heads, kv_heads), torch.randn(rows, HIDDEN, device="cuda", dtype=torch.bfloat16)
    told: dict[str, object] = {"case": f"attention of {LAYERS} layers, {rows} rows"}
    answers = []
    for inside, dependent in itertools.product((False, True), (False, True)):
        torch._dynamo.reset()  # noqa: SLF001 (what was compiled before was so for other launches)
        with inductor.patch({"triton.enable_pdl": dependent}):
            before = None if inside else torch.compile(layer.before)
            layer.forward(given, before)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                answer = given
                for _ in range(LAYERS):
                    answer = layer.forward(answer, before)
        name = f"{'inside' if inside else 'before'}{'_dependent' if dependent else ''}"
        told[f"{name}_ms"] = median_ms(graph.replay)
        answers.append(answer.float())
        far = (answers[-1] - answers[0]).norm() / answers[0].norm()
        told[f"{name}_differs"] = far.item()
    print("RESULT", json.dumps(told), flush=True)


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
    for rows in (256, 16):
        layers(rows, 16, 8)
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
