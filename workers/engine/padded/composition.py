"""Batch composition for the padded engine: which of the waiting requests share one batch.

A padded batch computes rows x (longest prompt + most new tokens), whatever its shorter rows need. So like goes with
like: the batch grows from the oldest request outwards over its neighbours in length, as far as the budget reaches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pelton.workers.engine.api import Selection, Waiting


@dataclass(frozen=True, slots=True)
class _Shape:
    """The size of a padded batch: what it computes, and what of that its rows need."""

    rows: int
    prompt_tokens: int
    max_new_tokens: int
    useful: int

    @property
    def row_length(self) -> int:
        return self.prompt_tokens + self.max_new_tokens

    @property
    def cost(self) -> int:
        return self.rows * self.row_length

    @property
    def padding(self) -> int:
        return self.cost - self.useful

    def joined_by(self, request: Waiting) -> "_Shape":
        return _Shape(
            self.rows + 1,
            max(self.prompt_tokens, request.prompt_tokens),
            max(self.max_new_tokens, request.max_new_tokens),
            self.useful + _length(request),
        )


_EMPTY = _Shape(0, 0, 0, 0)


def compose(
    waiting: Sequence[Waiting], now: float, *, max_batch_tokens: int, max_batch_size: int, max_wait_s: float
) -> Selection:
    """Choose one batch from `waiting`, or say when to look again.

    The request that has waited longest is always in, so none starves. A batch that can take no more goes at once; any
    other goes when `max_wait_s` have passed since its oldest request began to wait.

    Raises ValueError when one request alone is above `max_batch_tokens`: the caller refuses such before they wait.
    """
    if not waiting:
        return Selection(())
    _refuse_oversized(waiting, max_batch_tokens)
    anchor = min(range(len(waiting)), key=lambda index: waiting[index].since)
    indexes, shape = _grow(waiting, anchor, max_batch_tokens, max_batch_size)
    full = (
        len(indexes) < len(waiting) or shape.rows == max_batch_size or shape.cost + shape.row_length > max_batch_tokens
    )
    retry_at = waiting[anchor].since + max_wait_s
    return Selection(indexes) if full or now >= retry_at else Selection((), retry_at)


def _grow(
    waiting: Sequence[Waiting], anchor: int, max_batch_tokens: int, max_batch_size: int
) -> tuple[tuple[int, ...], _Shape]:
    """The window around `anchor` in order of length, each time widened to the side that adds the less padding."""
    order = sorted(range(len(waiting)), key=lambda index: _length(waiting[index]))
    low = order.index(anchor)
    high = low + 1
    shape = _EMPTY.joined_by(waiting[anchor])
    while shape.rows < max_batch_size:
        shorter = shape.joined_by(waiting[order[low - 1]]) if low > 0 else None
        longer = shape.joined_by(waiting[order[high]]) if high < len(order) else None
        fitting = [wider for wider in (shorter, longer) if wider and wider.cost <= max_batch_tokens]
        if not fitting:
            break
        shape = min(fitting, key=lambda wider: wider.padding)
        low, high = (low - 1, high) if shape is shorter else (low, high + 1)
    return tuple(order[low:high]), shape


def _refuse_oversized(waiting: Sequence[Waiting], max_batch_tokens: int) -> None:
    for index, request in enumerate(waiting):
        if _length(request) > max_batch_tokens:
            raise ValueError(
                f"waiting request {index} needs {request.prompt_tokens} prompt + {request.max_new_tokens} new tokens, "
                f"above max_batch_tokens = {max_batch_tokens}; refuse such requests before they wait"
            )


def _length(request: Waiting) -> int:
    return request.prompt_tokens + request.max_new_tokens
