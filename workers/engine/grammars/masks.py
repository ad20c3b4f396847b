"""Which tokens the grammars of a step admit, as bits, and what the others' logits become."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from llguidance import LLExecutor
from numpy.typing import NDArray
from torch import Tensor

from pelton.workers.engine.grammars.matching import GrammarState
from pelton.workers.engine.transfer import upload

_BITS = 32
_LEAST_PARALLEL = 8  # rows; fewer are filled sooner than threads are woken
_MOST_THREADS = 8
_CORES_LEFT = 4  # on a machine with few cores the model's own threads need them all

Words = NDArray[np.int32]


class GrammarMasks:
    """Fills masks of several rows, on several cores where there are enough, and holds logits to them."""

    def __init__(self) -> None:
        threads = min(_MOST_THREADS, (os.cpu_count() or 1) - _CORES_LEFT)
        self._executor = LLExecutor(threads) if threads > 1 else None

    def apply(self, logits: Tensor, grammars: Sequence[GrammarState | None]) -> None:
        """Set to -inf, in place, what a row's grammar does not admit, in `logits` [rows, vocab]."""
        held = [(row, state) for row, state in enumerate(grammars) if state is not None and state.holds]
        if not held:
            return
        rows = [row for row, _ in held]
        masks = self._filled([state for _, state in held])
        if logits.device.type == "cpu":
            _forbid(logits, rows, masks)
        else:
            at = upload(rows, torch.int64, logits.device)
            blocked = forbidden(upload(masks, torch.int32, logits.device), logits.shape[-1])
            logits.index_copy_(0, at, logits.index_select(0, at).masked_fill_(blocked, -torch.inf))

    def _filled(self, states: Sequence[GrammarState]) -> Words:
        """One bit for each token, set where it may come next: int32 [rows, words], in llguidance's order."""
        words = max(-(-state.tokenizer.vocab_size // _BITS) for state in states)
        masks = np.zeros((len(states), words), dtype=np.int32)
        stride = words * masks.itemsize
        if self._executor is not None and len(states) >= _LEAST_PARALLEL:
            matchers = [(state.matcher, row) for row, state in enumerate(states)]
            self._executor.unsafe_compute_mask_ptr(matchers, masks.ctypes.data, stride, len(states))
        else:
            for row, state in enumerate(states):
                state.matcher.unsafe_compute_mask_ptr(masks.ctypes.data + row * stride, stride)
        return masks


def _forbid(logits: Tensor, rows: Sequence[int], masks: Words) -> None:
    """Row by row, as whole rows are copied otherwise; `logits` is on a CPU."""
    width = logits.shape[-1]
    refused = np.unpackbits(~masks.view(np.uint8), axis=1, bitorder="little")[:, :width].view(np.bool_)
    values = logits.numpy()
    for row, bits in zip(rows, refused, strict=True):
        np.putmask(values[row, : len(bits)], bits, -np.inf)
        values[row, len(bits) :] = -np.inf


def forbidden(masks: Tensor, width: int) -> Tensor:
    """Bool [rows, width], true for tokens that masks int32 [rows, words] do not admit; on the masks' device."""
    shifts = torch.arange(8, dtype=torch.uint8, device=masks.device)
    bits = (masks.view(torch.uint8)[:, :, None] >> shifts).bitwise_and_(1).flatten(1)
    missing = width - bits.shape[1]
    if missing > 0:
        bits = torch.nn.functional.pad(bits, (0, missing))
    return bits[:, :width] == 0
