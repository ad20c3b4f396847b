"""Attention as the compiled model sees it: one operator that it cannot look into.

TorchInductor does not compile a Triton kernel that is called from an attention function; behind an operator it needs
not to. What the operator does is up to the step (`attending`): pages and tables are no arguments of it, so that one
compiled model serves every step, and nothing is compiled again when a batch changes.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from pelton.workers.engine.attention.params import AttentionParams
from pelton.workers.engine.cuda.attention import DeviceAttention
from pelton.workers.engine.cuda.kernels.norm_rope import NormRope

ATTENTION = "pelton_device"
"""The name under which models find `_attend`."""


class _Current(threading.local):
    """The attention of the step that this thread computes."""

    step: DeviceAttention | None = None


_current = _Current()


@contextmanager
def attending(step: DeviceAttention) -> Iterator[None]:
    """Within it, the model's attention is that of `step`."""
    before, _current.step = _current.step, step
    try:
        yield
    finally:
        _current.step = before


@torch.library.custom_op("pelton::paged_attention", mutates_args=())
def paged_attention(  # noqa: PLR0913, PLR0917 (operators take plain values)
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layer: int,
    scale: float,
    window: int,
    softcap: float,
    cosines: Tensor | None = None,
    sines: Tensor | None = None,
    query_weight: Tensor | None = None,
    key_weight: Tensor | None = None,
    epsilon: float = 0.0,
    interleaved: bool = False,
) -> Tensor:
    """[rows, heads, head_dim] from queries of that shape and keys and values [rows, kv_heads, head_dim].

    `window` 0 and `softcap` 0 stand for none. With `cosines` and `sines` queries and keys are not turned yet, or normed
    (`NormRope`, which the last six arguments make). That keys and values are written to the pages is not told to the
    compiler: it must not copy all pages to be safe, and the order of steps and layers is given by what they compute.
    """
    if _current.step is None:
        raise RuntimeError("the model's attention was called outside of a step")
    norm_rope = None
    if cosines is not None and sines is not None:
        norm_rope = NormRope(cosines, sines, interleaved, query_weight, key_weight, epsilon)
    scoring = AttentionParams(scale, window or None, softcap or None)
    return _current.step.attend(layer, query, key, value, scoring, norm_rope)


@paged_attention.register_fake
def _(query: Tensor, *_: Any) -> Tensor:
    return query.new_empty(query.shape)


def register() -> None:
    """Make the attention known to transformers."""
    AttentionInterface.register(ATTENTION, _attend)


def _attend(  # noqa: PLR0913 (transformers' signature)
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 (transformers' signature; what may be seen follows from the pages)
    *,
    scaling: float,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """[1, rows, heads, head_dim] from [1, heads, rows, head_dim], as transformers calls it for one packed row."""
    q, k, v = (each[0].transpose(0, 1) for each in (query, key, value))
    mixed = paged_attention(q, k, v, module.layer_idx, float(scaling), sliding_window or 0, softcap or 0.0)
    return mixed[None], None
