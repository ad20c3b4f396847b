"""The judge of killed servers finds what it is there to find."""

from types import SimpleNamespace

import orjson
import pytest

from tests.serve_chaos.points import POINTS, Point
from tests.serve_chaos.verdict import BAD_EVERY, faults, leftovers, sent_twice

LINES = 120
POINT = Point("anywhere", "x:y")
BAD = [number for number in range(LINES) if number % BAD_EVERY == 0]
GOOD = [number for number in range(LINES) if number % BAD_EVERY]


def written(numbers):
    return b"".join(orjson.dumps({"custom_id": f"q-{number}"}) + b"\n" for number in numbers)


def found(answers, errors, *, status="completed", total=LINES):
    counts = SimpleNamespace(total=total, completed=len(answers), failed=len(errors))
    batch = SimpleNamespace(status=status, request_counts=counts)
    return list(faults(POINT, LINES, batch, written(answers), written(errors)))


def test_a_whole_batch_is_well():
    """Nothing is said of it."""
    assert found(GOOD, BAD) == []


@pytest.mark.parametrize(
    ("answers", "errors", "word"),
    [
        (GOOD[1:], BAD, "lost"),
        ([*GOOD, GOOD[0]], BAD, "doubled"),
        (GOOD, [*BAD, GOOD[0]], "doubled"),
        ([*GOOD, LINES], BAD, "unknown"),
        ([*GOOD, BAD[0]], BAD[1:], "answered"),
        (GOOD[1:], [*BAD, GOOD[0]], "failed"),
    ],
)
def test_each_wrong_line_is_found(answers, errors, word):
    """Whichever file it is in, or is not."""
    assert any(word in each for each in found(answers, errors))


def test_counts_and_status_are_compared():
    """With the files, and with what a batch must come to."""
    assert len(found(GOOD, BAD, total=LINES - 1)) == 1
    assert len(found(GOOD, BAD, status="failed")) == 1


def test_what_is_left_and_sent_twice_is_found(tmp_path):
    """Parts of results and files that nobody knows; drafts are swept by age, and are none of it."""
    for path in ("tenant-/file-1/content", "tenant-/file-2/content", "parts/batch_1/000000-ab", "drafts/1-ab"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    told = sorted(leftovers(tmp_path, {"file-1"}))
    assert [each.rpartition(" ")[2] for each in told] == ["parts/batch_1/000000-ab", "tenant-/file-2/content"]
    assert list(sent_twice("batch_1", {b"batch_1-1": 1, b"batch_2-1": 2})) == []
    assert len(list(sent_twice("batch_1", {b"batch_1-1": 2}))) == 1


def test_points_have_names_of_their_own():
    """Tests choose them by name."""
    assert len({point.name for point in POINTS}) == len(POINTS) >= 20
