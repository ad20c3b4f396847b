"""Which tokens the grammars of a step admit, as bits, and what the others' logits become."""

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
import torch
from llguidance import LLExecutor
from numpy.typing import NDArray
from torch import Tensor

from pelton.workers.engine.grammars.matching import GrammarState
from pelton.workers.engine.transfer import upload

_BITS = 32
_MIN_AHEAD = 4  # rows; fewer are filled sooner than a thread is woken
_MIN_PARALLEL = 8  # likewise for several threads
_MAX_THREADS = 8
_CORES_LEFT = 4  # on a machine with few cores the model's own threads need them all
_FEW = 1 / 8  # of a vocabulary: so many tokens are written one by one sooner than all are looked at

Words = NDArray[np.int32]
Bits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """One bit for each token, set where it may come next: int32 [rows, words], in llguidance's order.

    `rows` are those of the logits that they are about.
    """

    rows: Sequence[int]
    words: Words

    def hold(self, logits: Tensor) -> None:
        """Set to -inf, in place, what is not admitted, in float32 `logits` [rows, vocab]."""
        if logits.device.type == "cpu":
            values = logits.numpy()
            for row, admitted in zip(self.rows, self._bits(logits.shape[-1]), strict=True):
                _hold_row(values[row], admitted)
        else:
            at = upload(self.rows, torch.int64, logits.device)
            blocked = forbidden(upload(self.words, torch.int32, logits.device), logits.shape[-1])
            logits.index_copy_(0, at, logits.index_select(0, at).masked_fill_(blocked, -torch.inf))

    def _bits(self, width: int) -> Bits:
        return np.unpackbits(self.words.view(np.uint8), axis=1, bitorder="little")[:, :width].view(np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class StepMasks:
    """The masks of one step, on their way. Until `settle` has returned nobody may change the grammars' states."""

    _filling: Future[Masks] | None = None
    _states: Sequence[tuple[int, GrammarState]] = ()

    def settle(self) -> None:
        """Wait until nothing is filled any more."""
        if self._filling is not None:
            wait([self._filling])

    def hold(self, logits: Tensor) -> None:
        """Hold `logits` [rows, vocab] to the masks, in place."""
        if self._filling is not None:
            self._filling.result().hold(logits)
        elif self._states:
            _filled_one_by_one(self._states).hold(logits)


class GrammarMasks:
    """Fills masks of several rows, on several cores where there are enough, and holds logits to them."""

    def __init__(self) -> None:
        threads = min(_MAX_THREADS, (os.cpu_count() or 1) - _CORES_LEFT)
        self._executor = LLExecutor(threads) if threads > 1 else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grammar-masks")

    def begin(self, grammars: Sequence[GrammarState | None]) -> StepMasks:
        """Begin to fill the masks of a step's rows, while the model computes their logits."""
        held = _held(grammars)
        if len(held) < _MIN_AHEAD:
            return StepMasks(_states=held)
        return StepMasks(self._thread.submit(self._filled, held))

    def apply(self, logits: Tensor, grammars: Sequence[GrammarState | None]) -> None:
        """Fill the masks now, and hold `logits` [rows, vocab] to them in place."""
        if held := _held(grammars):
            self._filled(held).hold(logits)

    def _filled(self, held: Sequence[tuple[int, GrammarState]]) -> Masks:
        if self._executor is None or len(held) < _MIN_PARALLEL:
            return _filled_one_by_one(held)
        words = _empty(held)
        matchers = [(state.matcher, index) for index, (_, state) in enumerate(held)]
        self._executor.unsafe_compute_mask_ptr(matchers, words.ctypes.data, words.strides[0], len(held))
        return Masks([row for row, _ in held], words)


def _held(grammars: Sequence[GrammarState | None]) -> list[tuple[int, GrammarState]]:
    return [(row, state) for row, state in enumerate(grammars) if state is not None and state.holds]


def _filled_one_by_one(held: Sequence[tuple[int, GrammarState]]) -> Masks:
    words = _empty(held)
    for index, (_, state) in enumerate(held):
        state.matcher.unsafe_compute_mask_ptr(words[index].ctypes.data, words.strides[0])
    return Masks([row for row, _ in held], words)


def _empty(held: Sequence[tuple[int, GrammarState]]) -> Words:
    return np.zeros((len(held), max(-(-state.tokenizer.vocab_size // _BITS) for _, state in held)), dtype=np.int32)


def _hold_row(values: NDArray[np.float32], admitted: Bits) -> None:
    """Where few tokens are admitted, or few are not, only those are touched."""
    few, count = _FEW * len(admitted), np.count_nonzero(admitted)
    if count <= few:
        (tokens,) = np.nonzero(admitted)
        kept = values[tokens]
        values.fill(-np.inf)
        values[tokens] = kept
    elif len(admitted) - count <= few:
        values[: len(admitted)][np.nonzero(~admitted)] = -np.inf
        values[len(admitted) :] = -np.inf
    else:
        np.putmask(values[: len(admitted)], ~admitted, -np.inf)
        values[len(admitted) :] = -np.inf


def forbidden(masks: Tensor, width: int) -> Tensor:
    """Bool [rows, width], true for tokens that masks int32 [rows, words] do not admit; on the masks' device."""
    shifts = torch.arange(8, dtype=torch.uint8, device=masks.device)
    bits = (masks.view(torch.uint8)[:, :, None] >> shifts).bitwise_and_(1).flatten(1)
    missing = width - bits.shape[1]
    if missing > 0:
        bits = torch.nn.functional.pad(bits, (0, missing))
    return bits[:, :width] == 0
