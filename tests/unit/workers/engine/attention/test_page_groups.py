"""Which pages are multiplied together, with which rows: every wanted pair once, at a bounded cost."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.workers.engine.attention.page_groups import PageGrid, batched, grouped

ROWS = 12
read = st.dictionaries(st.integers(0, 40), st.sets(st.integers(0, ROWS - 1), min_size=1), min_size=1, max_size=25)


@settings(max_examples=100, deadline=None)
@given(read)
def test_every_pair_of_page_and_reader_is_there_once(read: dict[int, set[int]]) -> None:
    """The grids hold just the pairs that there are, each page at its place; fill is nobody's and of the group's own."""
    pairs = np.array([(page, row) for page, rows in read.items() for row in rows])
    groups = grouped(pairs[:, 0], pairs[:, 1], 100 + pairs[:, 0])
    assert len({frozenset(each.readers.tolist()) for each in groups}) == len(groups)
    batches = list(batched(groups))
    assert sorted(map(id, itertools.chain(*batches))) == sorted(map(id, groups))
    found = []
    for batch in batches:
        grid = PageGrid.of(batch, ROWS)
        assert (grid.places == grid.pages + 100).all()
        for pages, readers, group in zip(grid.pages, grid.readers, batch, strict=True):
            assert set(pages.tolist()) == set(group.pages.tolist())
            found += [
                (page, row) for page, rows in zip(pages, readers.tolist(), strict=True) for row in rows if row < ROWS
            ]
    assert sorted(found) == sorted(map(tuple, pairs.tolist()))


@settings(max_examples=100, deadline=None)
@given(read)
def test_filling_up_costs_less_than_more_products(read: dict[int, set[int]]) -> None:
    """All grids together are at most as large as all pairs, and what that many more products would cost."""
    pairs = np.array([(page, row) for page, rows in read.items() for row in rows])
    groups = grouped(pairs[:, 0], pairs[:, 1], pairs[:, 0])
    batches = list(batched(groups))
    computed = sum(PageGrid.of(batch, ROWS).readers.size for batch in batches)
    assert computed <= len(pairs) + 32 * (len(groups) - len(batches))
