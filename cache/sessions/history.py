"""A session's history as it is kept: its system messages, and each turn with the answer it got."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from pelton.cache.value_format import Damaged
from pelton.pipeline.wire.chat import Message

MAX_HISTORY_BYTES = 4 * 1024 * 1024
"""Of JSON: about a million tokens, and more than any model served here reads at once."""
MAX_HISTORY_MESSAGES = 20_000
SYSTEM_ROLES = frozenset({"system", "developer"})


class TooLong(ValueError):
    """A single turn is more than a history may hold; the message has the figures."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A request of a session and its answer.

    `record` names the request's record for ever, `messages` are those it brought, without its system messages, and
    `answer` is JSON: the reply's `choices` and `usage`.
    """

    record: str
    messages: tuple[Message, ...]
    answer: bytes

    @property
    def spoken(self) -> tuple[Message, ...]:
        """The turn as a model reads it."""
        said = orjson.loads(self.answer)["choices"][0]["message"]
        calls = said.get("tool_calls") or None
        return (*self.messages, Message(role="assistant", content=said["content"], tool_calls=calls))

    def slim(self) -> "Turn":
        """Without log-probabilities: only a reply needs them, and no reply to an older turn is still owed."""
        answer = orjson.loads(self.answer)
        for choice in answer["choices"]:
            choice["logprobs"] = None
        return replace(self, answer=orjson.dumps(answer))


@dataclass(frozen=True, slots=True)
class History:
    """What a session has come to; `turns` oldest first."""

    system: tuple[Message, ...] = ()
    turns: tuple[Turn, ...] = ()

    def turn(self, record: str) -> Turn | None:
        """The turn that a record has brought about, if it is still kept."""
        return next((turn for turn in self.turns if turn.record == record), None)

    def to_json(self) -> bytes:
        turns = [[turn.record, _plain(turn.messages), orjson.Fragment(turn.answer)] for turn in self.turns]
        return orjson.dumps({"system": _plain(self.system), "turns": turns})

    @classmethod
    def from_json(cls, value: bytes) -> "History":
        """Raises `Damaged`."""
        try:
            record = orjson.loads(value)
            _check_counts(record)
            history = cls(_messages(record["system"]), tuple(map(_turn, record["turns"])))
            for turn in history.turns:
                turn.spoken  # noqa: B018  # an answer without words must be found here, not when it is rendered
        except (ValueError, LookupError, TypeError, AttributeError) as error:  # pydantic and orjson: ValueErrors
            raise Damaged(f"it is no history: {error!r}") from None
        return history


def packed(history: History) -> bytes:
    """Its JSON, without the oldest turns where that would be more than is ever read again. Raises `TooLong`."""
    for shorter in _ever_shorter(history):
        written = shorter.to_json()
        spoken = sum(len(turn.messages) for turn in shorter.turns) + len(shorter.system)
        if len(written) <= MAX_HISTORY_BYTES and spoken <= MAX_HISTORY_MESSAGES:
            return written
    raise TooLong(
        f"a turn with {len(written):,} bytes and {spoken:,} messages is more than the {MAX_HISTORY_BYTES:,} and "
        f"{MAX_HISTORY_MESSAGES:,} that are kept of a session"
    )


def _ever_shorter(history: History) -> Iterator[History]:
    """Itself, then half of its turns each time; at last the newest alone, without its log-probabilities."""
    yield history
    turns = history.turns
    while len(turns) > 1:
        turns = turns[(len(turns) + 1) // 2 :]
        yield replace(history, turns=turns)
    yield replace(history, turns=tuple(turn.slim() for turn in turns))


def _check_counts(record: Any) -> None:
    """Before anything is built of it. Raises `ValueError`, and whatever else a wrong type makes of this."""
    messages = len(record["system"]) + sum(len(messages) for _, messages, _ in record["turns"])
    if messages > MAX_HISTORY_MESSAGES or len(record["turns"]) > MAX_HISTORY_MESSAGES:
        raise ValueError(f"it has {messages:,} messages in {len(record['turns']):,} turns")


def _plain(messages: Iterable[Message]) -> list[list[Any]]:
    """Role and text of each message, and what else it has, if anything."""
    return [[message.role, message.text, *_more(message)] for message in messages]


def _more(message: Message) -> Iterator[dict[str, Any]]:
    if more := message.model_dump(exclude={"role", "content"}, exclude_none=True):
        yield more


def _messages(plain: Iterable[Any]) -> tuple[Message, ...]:
    return tuple(_message(*each) for each in plain)


def _message(role: str, text: str, more: Any = None) -> Message:
    return Message.model_validate({"role": role, "content": text} | dict(more or {}))


def _turn(fields: Any) -> Turn:
    record, messages, answer = fields
    if not isinstance(record, str):
        raise TypeError(f"{record!r} names no record")
    return Turn(record, _messages(messages), orjson.dumps(answer))
