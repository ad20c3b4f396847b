"""Whether each turn of a session saw its history, all of it and once, and whether the turns were answered in order.

The answer to a turn is the signature of all that the model read, so it tells which turns before it were in the history.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pelton.workers.engine.simulated.text import signature
from tests.chaos.history import Reply, Sent

TURN_TOKENS = 5
"""What a signature takes: nothing follows it in the answer to a turn."""
NO_HISTORY = "session_unavailable"
MOST_HISTORIES = 512
"""That are thought possible of one session; of one with more nothing is said any longer."""

Lines = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the answer to the record `source`; `disorder` where it came before an earlier turn's."""

    source: str
    note: str
    disorder: bool = False


def faults(owed: Mapping[str, Sent], replies: Sequence[Reply], wipes: int) -> Iterator[Fault]:
    """Of all sessions; `owed` are the stored requests by source. A session begins anew `wipes` times at most: so often
    the server of the histories has lost its data.
    """
    first: dict[str, int] = {}
    for number, reply in enumerate(replies):
        first.setdefault(reply.source, number)
    talks: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for source, request in owed.items():
        if request.said is not None and source in first:
            talks[request.said.talk].append((source, request.said.text))
    for turns in talks.values():
        turns.sort(key=lambda turn: int(turn[0].rsplit("-", 1)[1]))
        yield from _forgotten([(source, text, replies[first[source]]) for source, text in turns], wipes)
        yield from _out_of_order([(source, first[source]) for source, _ in turns], replies)


def due(before: Lines, text: str) -> str:
    """The answer to a turn after these lines."""
    return signature("\n".join([*before, f"user: {text}"]))


def _forgotten(turns: Sequence[tuple[str, str, Reply]], wipes: int) -> Iterator[Fault]:
    """One that ended with an error is not in the history, unless its worker died before it could be taken out of it."""
    possible: dict[Lines, int] = {(): 0}
    for source, text, reply in turns:
        if wipes and () not in possible:
            possible[()] = 1 + min(possible.values())
        possible = {lines: resets for lines, resets in possible.items() if resets <= wipes}
        continued = {_with(lines, text): resets for lines, resets in possible.items()}
        if reply.answer is None:
            possible |= continued
            if len(possible) > MOST_HISTORIES:
                return
            continue
        possible = {lines: resets for lines, resets in continued.items() if lines[-1] == f"assistant: {reply.answer}"}
        if not possible:
            yield Fault(source, f"{text!r} was answered with {reply.answer!r}: not with the talk before it")
            return


def _with(lines: Lines, text: str) -> Lines:
    return (*lines, f"user: {text}", f"assistant: {due(lines, text)}")


def _out_of_order(turns: Sequence[tuple[str, int]], replies: Sequence[Reply]) -> Iterator[Fault]:
    """Answers: what ends early does not wait for its turn. Replies in one partition are in the order of the list."""
    last: dict[tuple[str, int], int] = {}
    for source, number in turns:
        if replies[number].answer is None:
            continue
        place = (replies[number].topic, replies[number].partition)
        if number < last.get(place, -1):
            yield Fault(source, "answered before an earlier turn of its session", disorder=True)
        last[place] = max(number, last.get(place, -1))
