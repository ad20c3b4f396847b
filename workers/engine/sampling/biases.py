"""Logits that are changed by token, whatever the text so far is: biases, and ends that would come too early."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pelton.workers.engine.api import SamplingParams
from pelton.workers.engine.transfer import upload


def bias(
    logits: Tensor, params: Sequence[SamplingParams], positions: Sequence[int], ends: Sequence[frozenset[int]]
) -> Tensor:
    """Float32 logits [rows, vocab] with each row's biases; the very same tensor where no row has any.

    `positions` counts each row's generated tokens from 0; `ends` are the tokens that end its answer.
    """
    rows, tokens, values = _changes(params, positions, ends, logits.shape[-1])
    if not rows:
        return logits
    at = upload(rows, torch.int64, logits.device), upload(tokens, torch.int64, logits.device)
    changed: Tensor = logits.index_put(at, upload(values, torch.float32, logits.device), accumulate=True)
    return changed


def _changes(
    params: Sequence[SamplingParams], positions: Sequence[int], ends: Sequence[frozenset[int]], vocabulary: int
) -> tuple[list[int], list[int], list[float]]:
    changes: list[tuple[int, int, float]] = []
    for row, (each, position, own_ends) in enumerate(zip(params, positions, ends, strict=True)):
        changes += [(row, token, value) for token, value in each.logit_bias if 0 <= token < vocabulary]
        if position < each.min_tokens:
            changes += [(row, token, -torch.inf) for token in own_ends if token < vocabulary]
    return [row for row, *_ in changes], [token for _, token, _ in changes], [value for *_, value in changes]
