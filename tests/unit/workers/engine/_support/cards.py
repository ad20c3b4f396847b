"""Compiles every kernel for kinds of cards that are not here, and says how much shared memory each takes.

    python -m tests.unit.workers.engine._support.cards 80 86 89 90 100 120 [--quick]

A program, since Triton reads whether to interpret when it is imported. Prints, as JSON, those that take more than their
card has; fails where one does not compile.
"""

import argparse
import itertools
import json
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from pelton.workers.engine.attention.params import AttentionParams
from pelton.workers.engine.cuda.kernels import prefill, scores
from pelton.workers.engine.cuda.kernels.argmax import likeliest
from pelton.workers.engine.cuda.kernels.decode import decode_attention
from pelton.workers.engine.cuda.kernels.draw import draw
from pelton.workers.engine.cuda.kernels.draw_cut import draw_cut
from pelton.workers.engine.cuda.kernels.norm_rope import NormRope
from pelton.workers.engine.cuda.kernels.prefill import prefill_attention
from pelton.workers.engine.cuda.kernels.splits import Splits
from pelton.workers.engine.cuda.kernels.write import write_pages

SHARED_KIB = {80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}
"""What one program may have, by compute capability."""

FP8 = 89


class Card:
    """As much of a Triton driver as compiling takes."""

    capability = 90

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        """Another for each kind: Triton keeps what it has compiled by device."""
        return self.capability

    def get_current_stream(self, _device: int | None = None) -> int:
        return 0


def attend(
    dim: int, page: int, dtype: torch.dtype, stored: torch.dtype | None = None, norm_rope: NormRope | None = None
) -> None:
    """Decode, prefill and write for heads of `dim`, of which four share a KV head; `stored` if not in `dtype`."""
    ints = torch.zeros(4, 4, dtype=torch.int64)
    store = torch.zeros(2, 2, page, dim, dtype=stored or dtype)
    absmax = None if stored is None else (torch.zeros(2, 2, page), torch.zeros(2, 2, page))
    queries, keys = torch.zeros(4, 8, dim, dtype=dtype), torch.zeros(4, 2, dim, dtype=dtype)
    rows, scoring, splits = (ints[0], ints[1], ints[2]), AttentionParams(0.1), Splits(ints, ints.view(-1)[:5])
    heads = queries, keys, keys
    options: dict[str, Any] = {"absmax": absmax, "norm_rope": norm_rope}
    decode_attention(*heads, store, store, ints, *rows, splits, queries, scoring, **options)
    prefill_attention(queries, store, store, ints, ints, queries, scoring, absmax=absmax)
    write_pages(*heads, store, store, ints, ints[0], ints[1], queries, **options)


def turned(dim: int, dtype: torch.dtype) -> NormRope:
    """Norms, and a rotation of whole heads."""
    angles, weight = torch.zeros(4, dim, dtype=dtype), torch.zeros(dim)
    return NormRope(angles, angles, False, weight, weight, 1e-6)


def choose(dtype: torch.dtype) -> None:
    """All ways of choosing, from a vocabulary of Qwen's size."""
    logits = torch.zeros(2, 151_936, dtype=dtype)
    ints, floats = torch.zeros(2, dtype=torch.int64), torch.zeros(2)
    likeliest(logits)
    draw(logits, ints, floats, ints, ints)
    draw_cut(logits, ints, floats, ints, floats, floats, ints, ints)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("capabilities", nargs="+", type=int, choices=SHARED_KIB)
    parser.add_argument("--quick", action="store_true", help="only what takes most: wide heads")
    asked = parser.parse_args()
    card = Card()
    triton.runtime.driver.set_active(card)
    run = JITFunction.run
    compiled: list[tuple[str, float]] = []

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:  # noqa: ARG001 (Triton's)
        kernel = run(self, *args, grid=grid, warmup=True, **options)
        compiled.append((kernel.metadata.name, kernel.metadata.shared / 1024))
        return kernel

    JITFunction.run = compile_only
    too_large: list[Any] = []
    launchers: tuple[Any, ...] = (scores, prefill)
    for card.capability in asked.capabilities:
        limit = SHARED_KIB[card.capability]
        roomy = limit * 1024 >= scores._ROOMY_BYTES
        for module in launchers:
            module.is_roomy = lambda _, roomy=roomy: roomy
        kinds = [None, torch.int8, *([torch.float8_e4m3fn] if card.capability >= FP8 else [])]
        sizes: Any = [(256, 64, torch.bfloat16, stored) for stored in (None, torch.int8)]
        if not asked.quick:
            sizes = itertools.product((64, 128, 256), (16, 64, 512), (torch.bfloat16, torch.float32), kinds)
        for dim, page, dtype, stored in sizes:
            attend(dim, page, dtype, stored, turned(dim, dtype))
            if not asked.quick:
                attend(dim, page, dtype, stored)
            too_large += [
                (card.capability, dim, page, str(dtype), str(stored), *each) for each in compiled if each[1] > limit
            ]
            if not asked.quick:
                print(card.capability, dim, page, dtype, stored, compiled, flush=True)  # noqa: T201 (its output)
            compiled.clear()
        if not asked.quick:
            choose(torch.bfloat16)
            choose(torch.float32)
            print(card.capability, "choosing", compiled, flush=True)  # noqa: T201 (its output)
            too_large += [(card.capability, *each) for each in compiled if each[1] > limit]
            compiled.clear()
    print(json.dumps(too_large))  # noqa: T201 (its output)


if __name__ == "__main__":
    main()
