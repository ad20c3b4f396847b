"""What a chaos run leaves behind: what was sent, and what the logs of Kafka hold, read committed, at the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

PERCENTILES = (50, 95, 99, 100)


class Kind(StrEnum):
    """What a request is made for."""

    GOOD = "good"
    """Due an answer that begins with its prompt's signature."""
    BAD = "bad"
    """Due an error that refuses it."""
    FAILING = "failing"
    """Due an error, because the engine fails it."""
    POISON = "poison"
    """Due an error, because the engine dies of it."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a request says in which session."""

    talk: str
    text: str


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as its sender knows it.

    `due` is what the reply must be: how the answer to a good one begins, the error code of every other. `source` is
    the place that Kafka acknowledged; None where it did not say whether it stored the request. Only one that is
    `shareable` may be answered with what was generated for another.
    """

    correlation_id: str
    kind: Kind
    due: str
    source: str | None
    shareable: bool = False
    letter: bool = True
    """Whether its error, where one is due, leaves a dead letter."""
    reply_topic: str | None = None
    reply_partition: int | None = None
    """Where the sender wants the reply, if it minds."""
    ends: tuple[str, ...] = ()
    """Codes of errors with which it may end in place of what is due."""
    said: Said | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A record of a request topic. `timestamp_ms` is Unix milliseconds, here and below.

    One without a usable id goes by its place. `unreadable` is one that no client can read.
    """

    source: str
    correlation_id: str
    timestamp_ms: int
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """A record of the reply topic: an `answer` or an `error` code, or neither where the value is no reply at all.

    `outcome` is what it says of the cache, `completion_id` the answer's own id; empty where there is none.
    """

    source: str
    correlation_id: str
    answer: str | None
    error: str | None
    worker: str
    timestamp_ms: int
    outcome: str = ""
    completion_id: str = ""
    topic: str = ""
    partition: int = 0
    retry_after_ms: int = 0
    """When to send it again, where it says that."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A record of a dead-letter topic: where it came from, and the error code it was put there for."""

    source: str
    code: str
    correlation_id: str = ""


@dataclass(frozen=True, slots=True)
class Acts:
    """What an operator did to Kafka, as far as it changes what is due.

    `gone` are sources whose reply lay in a topic that was deleted, in a transaction that may have been committed since;
    `again` says how often a source that was answered has come before the committed position once more; `void` are
    requests of a topic that was deleted; `away` are the times, in Unix milliseconds, without the reply topic that some
    requests name.
    """

    gone: frozenset[str] = frozenset()
    again: Mapping[str, int] = field(default_factory=dict)
    void: frozenset[str] = frozenset()
    away: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """All of a run. `lag` is how many records of each request partition the group has not committed.

    `silent` are unreadable batches that no worker's log names, `unlisted` how many dead letters `pelton dlt list` does
    not show. `wipes` is how often the server of sessions' histories has lost all of them.
    """

    sent: tuple[Sent, ...]
    stored: tuple[Stored, ...]
    replies: tuple[Reply, ...]
    letters: tuple[Letter, ...]
    lag: Mapping[str, int] = field(default_factory=dict)
    acts: Acts = field(default_factory=Acts)
    silent: tuple[str, ...] = ()
    unlisted: int = 0
    wipes: int = 0


def latency_ms(stored: Sequence[Stored], replies: Sequence[Reply]) -> dict[str, int]:
    """Milliseconds between a request's timestamp and its first reply's: percentiles by nearest rank."""
    answered = {reply.source: reply.timestamp_ms for reply in reversed(replies)}
    took = sorted(answered[record.source] - record.timestamp_ms for record in stored if record.source in answered)
    return {f"p{share}": took[-(-share * len(took) // 100) - 1] for share in PERCENTILES} if took else {}
