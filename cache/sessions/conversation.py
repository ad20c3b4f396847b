"""A session's history and a new request as one conversation, and which of its turns a model still gets to read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pelton.cache.sessions.history import SYSTEM_ROLES, History, Turn
from pelton.pipeline.wire.chat import Message


@dataclass(frozen=True, slots=True)
class Conversation:
    """`history` is all that came before the request's messages, `new`, and survives if they are answered.

    A session has one set of system messages. They are said first and never dropped; a request that brings some replaces
    those before, for its own turn and all that follow.
    """

    history: History
    new: tuple[Message, ...]

    @classmethod
    def of(cls, history: History, messages: Sequence[Message]) -> "Conversation":
        system = tuple(message for message in messages if message.role in SYSTEM_ROLES)
        new = tuple(message for message in messages if message.role not in SYSTEM_ROLES)
        return cls(replace(history, system=system or history.system), new)

    @property
    def messages(self) -> list[Message]:
        """All of it in order, for the chat template."""
        turns = (message for turn in self.history.turns for message in turn.spoken)
        return [*self.history.system, *turns, *self.new]

    def without_oldest(self, turns: int) -> "Conversation":
        return replace(self, history=replace(self.history, turns=self.history.turns[turns:]))

    def answered(self, record: str, answer: bytes) -> History:
        """The history that the answer makes: what was dropped is forgotten, so that a session stays bounded."""
        older = self.history.turns
        slim = (*older[:-1], *(turn.slim() for turn in older[-1:]))  # the others are slim already
        return replace(self.history, turns=(*slim, Turn(record, self.new, answer)))


def fewest_dropped(turns: int, fits: Callable[[int], bool]) -> int:
    """How many of the oldest `turns` must go: the least number for which `fits` holds, or all where none does.

    What fits must go on fitting when more is dropped. `fits` renders and tokenises, so few are tried: a full session is
    over by a turn or two, which takes two trials; the worst takes about twice the logarithm of `turns`.
    """
    too_few, step = -1, 1
    candidate = 0
    while candidate < turns and not fits(candidate):
        too_few, candidate, step = candidate, candidate + step, 2 * step
    enough = min(candidate, turns)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if fits(middle):
            enough = middle
        else:
            too_few = middle
    return enough
