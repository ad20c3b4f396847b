"""The sizes of a step, which are all that a captured one is made for, and those for which steps are captured."""

from dataclasses import dataclass

from pelton.workers.engine.cuda.kernels.splits import SPLIT_FIELDS, most_splits

FIELDS = 4
"""Numbers of a row, and of a block of a chunk."""

# Rows of a step with chunks are filled up to a multiple of this: what lies behind them is aligned then as the kernels
# were compiled for, and matrix products like it.
_ALIGNED = 8

_LEAST_ROWS = 2
_FINE, _COARSE = 256, 64

# Of the largest step with chunks that is captured: fine enough that padding costs less than the launches that it saves.
_TWELFTHS = (1, 2, 4, 6, 8, 10, 12)

# Rows of chunks in the largest of them: beside decodes prompts gather until 2,048 tokens wait, and the last of them
# may be long.
_MOST_CHUNKED = 3072

# A host takes some 0.3 ms to launch a layer's kernels; a large card multiplies so many weights with a token each in
# that time. Steps with more to do keep it busy without a graph.
_PRODUCTS_PER_LAUNCH = 90e9

_TOKENS_OF_A_PROMPT = 32


@dataclass(frozen=True, slots=True)
class StepShape:
    """How many there are of each kind of number that a step is told (`step_input.py`), padding included.

    `singles` rows are their sequences' only ones, and `chunked` rows those of chunks, cut into `blocks`. `items` are
    those of the singles' splits. `wanted` rows have logits, None: all. `changes` are those of the tables of pages.
    """

    singles: int
    chunked: int = 0
    items: int = 0
    blocks: int = 0
    wanted: int | None = None
    changes: int = 0

    @property
    def rows(self) -> int:
        return self.singles + self.chunked

    @property
    def parts(self) -> tuple[int, ...]:
        """The lengths of the numbers of each kind, in their order: rows, blocks, splits' items and offsets, wanted rows
        and changes.
        """
        wanted = self.wanted or 0
        return (
            FIELDS * self.rows, FIELDS * self.blocks, SPLIT_FIELDS * self.items, self.singles + 1, 2 * wanted,
            2 * self.changes,
        )  # fmt: skip

    def holds(self, needed: "StepShape") -> bool:
        """Whether a step with chunks fits into this shape; changes that do not fit are told beforehand."""
        return (
            self.singles >= needed.singles
            and self.chunked >= needed.chunked
            and self.blocks >= needed.blocks
            and (self.wanted or 0) >= (needed.wanted or 0)
        )


def aligned(rows: int) -> int:
    return -(-rows // _ALIGNED) * _ALIGNED


def buckets_for(most_rows: int) -> list[int]:
    """The numbers of rows that there are graphs of decode steps for, ascending; the last holds `most_rows`.

    One row is computed as two: a compiled model is general over all numbers of rows but 1.
    """
    fine = [_LEAST_ROWS, 4, 8, *range(16, _FINE + 1, 16)]
    coarse = range(_FINE + _COARSE, most_rows + _COARSE, _COARSE)
    enough = [rows for rows in (*fine, *coarse) if rows < most_rows]
    return [*enough, max(_LEAST_ROWS, most_rows)]


def decode_shapes(most_rows: int, kv_heads: int) -> list[StepShape]:
    """Of the captured steps of one token per sequence, ascending."""
    return [StepShape(rows, items=most_splits(rows, kv_heads), changes=rows) for rows in buckets_for(most_rows)]


def mixed_shapes(most_rows: int, most_tokens: int, kv_heads: int, layer_weights: float, tokens: int) -> list[StepShape]:
    """Of the captured steps with chunks, at most 21, those with fewest rows first.

    There are few numbers of decodes, as chunks have most of the rows: hardly any, half of `most_rows`, all. Chunks have
    no more rows in all than a host cannot keep the card busy with, for `layer_weights` in each layer; `tokens` are
    those of a block.
    """
    most = min(_MOST_CHUNKED, most_tokens, int(_PRODUCTS_PER_LAUNCH / layer_weights))
    if most < _ALIGNED:
        return []
    shapes = []
    for singles in sorted({_ALIGNED, aligned(-(-most_rows // 2)), aligned(most_rows)}):
        if singles > aligned(most_rows):
            continue
        for chunked in sorted({aligned(-(-most * part // 12)) for part in _TWELFTHS}):
            prompts = max(2, chunked // _TOKENS_OF_A_PROMPT)
            blocks = chunked // tokens + prompts
            items = most_splits(singles, kv_heads)
            changes = singles + blocks
            shapes.append(StepShape(singles, chunked, items, blocks, singles + prompts, changes))
    return sorted(shapes, key=lambda shape: shape.rows)
