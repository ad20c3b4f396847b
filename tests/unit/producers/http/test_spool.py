"""Results of a batch: one a line, read back whole, here and by a next owner."""

from hypothesis import given
from hypothesis import strategies as st

from pelton.producers.http.batches.spool import Spool

LINES = 10
outcomes = st.binary(min_size=1, max_size=40).filter(lambda raw: b"\n" not in raw)


@given(st.lists(st.tuples(st.integers(-2, 12), outcomes, st.booleans()), max_size=40), st.integers(0, 40))
def test_the_first_result_of_a_line_is_kept_and_survives_its_owner(added, saved_after):
    """Whatever is added in whatever order: the first counts, lines that are none do not; parts rebuild all of it."""
    expected: dict[int, tuple[bytes, bool]] = {}
    parts: list[bytes] = []
    with Spool(LINES) as spool:
        for number, (line, outcome, ok) in enumerate(added):
            is_one = 0 < line <= LINES
            assert spool.add(line, outcome, ok=ok) == (is_one and line not in expected)
            if is_one:
                expected.setdefault(line, (outcome, ok))
            if number == saved_after:
                parts.append(save(spool))
        parts.append(save(spool))
        assert held(spool) == expected
        assert spool.answered == sum(ok for _, ok in expected.values())
        assert spool.count == len(expected)
    with Spool(LINES) as again:
        for part in parts:
            again.load(part)
        assert held(again) == expected
        assert again.unsaved_bytes == 0


def held(spool: Spool) -> dict[int, tuple[bytes, bool] | None]:
    return {line: spool.result(line) for line in range(1, LINES + 1) if line in spool}


def save(spool: Spool) -> bytes:
    part = spool.unsaved()
    assert spool.unsaved() == part, "what is not marked as saved is given again"
    spool.mark_saved(len(part))
    return part
