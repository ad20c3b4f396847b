"""The parts of decode rows: every row reads each token that it sees once, and what rows have in common is read once."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.workers.engine.attention.decode_parts import Parts, Texts, cut

Token = tuple[int, int]
"""A page and a slot in it."""


@st.composite
def texts(draw: st.DrawFn) -> Texts:
    """Some begin with the pages of another, or are all of it up to a few tokens (drafts); windows hide beginnings."""
    size = draw(st.sampled_from([1, 4, 16, 64]))
    pages: list[np.ndarray] = []
    ends = []
    for _ in range(draw(st.integers(1, 12))):
        end = draw(st.integers(1, 40 * size))
        mine = np.arange(1000 * len(pages), 1000 * len(pages) + -(-end // size))
        begins_alike = draw(st.booleans())
        if pages and begins_alike:
            other = draw(st.sampled_from(pages))
            common = min(draw(st.integers(0, len(other))), len(mine))
            mine[:common] = other[:common]
        pages.append(mine)
        ends.append(end)
    window = draw(st.one_of(st.none(), st.integers(1, 20 * size)))
    begins = [0 if window is None else max(0, end - window) for end in ends]
    return Texts(pages, np.array(begins), np.array(ends), size)


def tokens_of(parts: Parts, part: int, size: int) -> list[Token]:
    places = range(parts.skipped[part], parts.skipped[part] + parts.tokens[part])
    return [(int(parts.pages[parts.first_pages[part] + place // size]), place % size) for place in places]


def looks_of(parts: Parts, part: int) -> range:
    return range(parts.first_looks[part], parts.first_looks[part + 1])


@given(given_texts=texts(), heads=st.sampled_from([1, 3, 16, 100]), sharing=st.booleans())
def test_each_row_reads_what_it_sees_once(given_texts: Texts, heads: int, sharing: bool) -> None:
    """Whatever is shared, however many readers a part may have."""
    parts = cut(given_texts, heads, sharing=sharing)
    size = given_texts.page_size
    read: list[list[Token]] = [[] for _ in given_texts.pages]
    for part in range(len(parts.tokens)):
        assert parts.tokens[part] > 0
        for look in looks_of(parts, part):
            read[parts.readers[look]] += tokens_of(parts, part, size)
    for row, (pages, begin, end) in enumerate(
        zip(given_texts.pages, given_texts.begins, given_texts.ends, strict=True)
    ):
        assert sorted(read[row]) == sorted((int(pages[at // size]), at % size) for at in range(begin, end))
        looks = parts.row_looks[parts.first_row_looks[row] : parts.first_row_looks[row + 1]]
        assert (parts.readers[looks] == row).all()
    assert len(parts.row_looks) == len(parts.readers) == parts.first_row_looks[-1]


@given(given_texts=texts())
def test_what_is_seen_whole_by_several_is_read_once(given_texts: Texts) -> None:
    """A page's tokens are read as often as it has readers with a text of their own, and once where all see it whole."""
    size = given_texts.page_size
    parts = cut(given_texts, 1, sharing=True)
    read = Counter(token for part in range(len(parts.tokens)) for token in tokens_of(parts, part, size))
    seen, whole = Counter[int](), Counter[int]()
    for pages, begin, end in zip(given_texts.pages, given_texts.begins, given_texts.ends, strict=True):
        for place, page in enumerate(pages.tolist()):
            seen[page] += begin < (place + 1) * size and end > place * size
            whole[page] += begin <= place * size and end >= (place + 1) * size
    for page, rows in seen.items():
        if rows and whole[page] == rows:
            assert {read[page, slot] for slot in range(size)} == {1}


@pytest.mark.parametrize("sharing", [True, False])
def test_parts_are_bounded(sharing: bool) -> None:
    """Long texts of many rows are cut along both; a row's parts do not depend on other rows' where none is shared."""
    together = [np.arange(100)] * 60
    parts = cut(Texts(together, np.zeros(60, dtype=int), np.full(60, 6400), 64), 3, sharing=sharing)
    assert parts.tokens.max() == 256
    assert np.diff(parts.first_looks).max() == (16 if sharing else 1)
    alone = cut(Texts(together[:1], np.zeros(1, dtype=int), np.full(1, 6400), 64), 3, sharing=sharing)
    assert alone.tokens.tolist() == [256] * 25
    assert len(alone.pages) == 100
    if not sharing:
        assert parts.tokens[:25].tolist() == alone.tokens.tolist()
