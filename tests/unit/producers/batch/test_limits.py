"""A batch keeps to its pace, and to its tokens."""

import asyncio
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.producers.batch.limits import FIRST_ANSWER_TOKENS, Pace, TokenCap, tokens_of
from pelton.producers.replies import Reply


async def test_a_pace_is_even_and_saves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten a second are a tenth apart, after a pause as before it."""
    now = [100.0]
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        now[0] += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)
    pace = Pace(10, clock=lambda: now[0])
    for _ in range(4):
        await pace.wait()
    assert slept == [0.1, 0.1, 0.1]
    now[0] += 60
    for _ in range(2):
        await pace.wait()
    assert slept == [0.1, 0.1, 0.1, 0.1]


@given(st.lists(st.integers(1, 900), min_size=1, max_size=200), st.integers(1, 30), st.integers(0, 100_000))
def test_a_cap_is_kept_but_for_what_an_answer_differs_from_the_others(used: list[int], at_once: int, most: int) -> None:
    """However many are under way; nothing stays reserved."""
    cap = TokenCap(most)
    waiting: list[int] = []
    for line, _ in enumerate(used):
        while not cap.admits(400) and waiting:
            cap.answered(waiting[0], used[waiting.pop(0)])
        if not cap.admits(400):
            break
        cap.sent(line, 400)
        waiting.append(line)
        if len(waiting) > at_once:
            cap.answered(waiting[0], used[waiting.pop(0)])
    for line in waiting:
        cap.answered(line, used[line])
    assert cap.used <= most + 900 * (at_once + 1)
    assert cap._in_reserve == 0


def test_with_equal_answers_a_cap_is_never_exceeded() -> None:
    """Once the first answer has told what one uses."""
    cap = TokenCap(10_000)
    assert not TokenCap(FIRST_ANSWER_TOKENS).admits(4)
    cap.sent(0, 400)
    cap.answered(0, 300)
    line = 1
    while cap.admits(400):
        cap.sent(line, 400)
        line += 1
    for each in range(1, line):
        cap.answered(each, 300)
    assert 9_700 < cap.used <= 10_000


def test_a_run_that_goes_on_counts_what_was_used_before(tmp_path: Path) -> None:
    """Errors and lines that cannot be read have used nothing."""
    out = tmp_path / "out"
    answer = {"response": {"status_code": 200, "body": {"usage": {"total_tokens": 70}}}, "error": None}
    out.write_bytes(orjson.dumps(answer) + b"\n" + b'{"response": null, "error": {}}\n' + b"torn")
    assert TokenCap.going_on(100, out).used == 70
    assert TokenCap.going_on(100, tmp_path / "none").used == 0


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        (b'{"usage":{"total_tokens":7}}', 7),
        (b'{"error":{}}', 0),
        (b"[]", 0),
        (b"{", 0),
        (b'{"usage":{"total_tokens":"7"}}', 0),
    ],
)
def test_what_a_reply_has_used(value: bytes, tokens: int) -> None:
    """As its usage tells."""
    assert tokens_of(Reply(b"1", value)) == tokens
