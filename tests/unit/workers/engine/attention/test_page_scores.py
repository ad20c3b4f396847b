"""Where scores lie for one softmax, for rows of any lengths."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.workers.engine.attention.page_scores import ScoreTable

HEADS = 3


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40)), min_size=1, max_size=12),
    st.sampled_from([1, 8, 64]),
)
def test_weights_are_the_softmax_of_each_query_head(ranges: list[tuple[int, int]], size: int) -> None:
    """Whatever pages rows see, each head's weights are a softmax over just its own scores, and nobody's are zero."""
    begins = np.array([begin for begin, _ in ranges])
    ends = begins + np.array([count for _, count in ranges])
    lines = ScoreTable(begins, ends, HEADS, size)
    rows = np.repeat(np.arange(len(ranges)), ends - begins)[:, None]
    places = np.concatenate([np.arange(*each) for each in zip(begins, ends, strict=True)])
    mine = torch.from_numpy(lines.of(rows, places)[:, 0])
    padding_line = torch.from_numpy(lines.of(np.array([[len(ranges)]]), np.array([7]))).unique()
    assert len(mine.unique()) == mine.numel()
    assert padding_line.numel() == 1
    assert padding_line.item() not in mine

    scores = torch.randn(len(mine), HEADS, size, generator=torch.Generator().manual_seed(len(ranges)))
    for each in (100 * scores, scores):  # as two layers do
        lines.put(torch.full((1, size), 1e9), padding_line)
        lines.put(each.flatten(0, 1), mine.view(-1))
        weights = lines.weights()

    assert not weights[padding_line].any()
    for row in range(len(ranges)):
        of_row = torch.from_numpy(rows[:, 0] == row)
        expected = scores[of_row].transpose(0, 1).flatten(1).softmax(-1)
        torch.testing.assert_close(weights[mine[of_row]].transpose(0, 1).flatten(1), expected)


def test_longer_rows_beside_it_change_no_bit_of_a_row() -> None:
    """A row's weights are the same bits, alone or filled up to the length of another."""
    for size in (8, 16, 64):
        for pages in range(1, 12):
            scores = torch.randn(pages * HEADS, size, generator=torch.Generator().manual_seed(pages))
            found = []
            for others in ([], [4 * pages], [2 * pages, 3 * pages + 1]):
                ends = np.array([pages, *others])
                lines = ScoreTable(np.zeros_like(ends), ends, HEADS, size)
                places = torch.from_numpy(lines.of(np.zeros((pages, 1), dtype=np.int64), np.arange(pages))).view(-1)
                lines.put(scores, places)
                found.append(lines.weights()[places].clone())
            assert all(torch.equal(found[0], each) for each in found[1:])
