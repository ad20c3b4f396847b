"""Sessions under chaos: what a turn may have been answered with, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.history import Kind, Reply, Said, Sent
from tests.chaos.senders.talks import Fault, due, faults

FATES = st.sampled_from(["answered", "answered", "refused", "refused but kept", "wiped, answered"])


def ask(fates: list[str]) -> tuple[dict[str, Sent], list[Reply], int]:
    """A session as a worker keeps it, and how often its history was lost."""
    owed: dict[str, Sent] = {}
    replies: list[Reply] = []
    lines: tuple[str, ...] = ()
    wipes = 0
    for number, fate in enumerate(fates):
        source, text = f"t-0-{number}", f"Turn {number}?"
        owed[source] = Sent(str(number), Kind.GOOD, "sim:", source, said=Said("talk", text))
        if fate.startswith("wiped"):
            lines, wipes = (), wipes + 1
        answer = due(lines, text)
        if fate != "refused":
            lines = (*lines, f"user: {text}", f"assistant: {answer}")
        refused = fate.startswith("refused")
        replies.append(
            Reply(source, str(number), None if refused else answer, "cancelled" if refused else None, "w", 0)
        )
    return owed, replies, wipes


def found(owed: dict[str, Sent], replies: list[Reply], wipes: int) -> list[Fault]:
    return list(faults(owed, replies, wipes))


@given(st.lists(FATES, max_size=12))
def test_a_session_that_was_kept_passes(fates: list[str]) -> None:
    """Whatever ended with an error, was kept all the same, or was lost with its server; others may come between."""
    owed, replies, wipes = ask(fates)
    assert found(owed, replies, wipes) == []
    assert found(owed, replies[:-1], wipes + 1) == []


def test_a_session_with_too_many_possible_histories_passes() -> None:
    """A check that forgot some of them would find fault with what is right."""
    owed, replies, wipes = ask(["refused"] * 10 + ["refused but kept"] * 2 + ["answered"] * 2)
    assert found(owed, replies, wipes) == []


@given(st.integers(2, 10), st.data())
def test_a_turn_that_saw_another_history_is_found(turns: int, data: st.DataObject) -> None:
    """One that was left out, seen twice, or in another order; and a loss that no server had."""
    owed, replies, _ = ask(["answered"] * turns)
    last = f"Turn {turns - 1}?"
    before = [line for n in range(turns - 1) for line in (f"user: Turn {n}?", f"assistant: {replies[n].answer}")]
    place = 2 * data.draw(st.integers(0, turns - 2))
    turn = before[place : place + 2]
    for wrong in ([*before[:place], *before[place + 2 :]], [*before[:place], *turn, *before[place:]], []):
        spoilt = Reply(f"t-0-{turns - 1}", "", due(tuple(wrong), last), None, "w", 0)
        assert [fault.source for fault in found(owed, [*replies[:-1], spoilt], 0)] == [spoilt.source]


@given(st.permutations(range(6)))
def test_turns_answered_in_another_order_are_found(order: list[int]) -> None:
    """Each that comes before an earlier turn's answer, and none else: what is cancelled waits for nobody."""
    owed, replies, _ = ask(["answered", "answered", "refused", "answered", "refused", "answered"])
    answered = [number for number in range(6) if replies[number].answer]
    late = {f"t-0-{n}" for n in answered if any(order.index(n) < order.index(m) for m in answered if m < n)}
    assert {fault.source for fault in found(owed, [replies[n] for n in order], 0) if fault.disorder} == late
