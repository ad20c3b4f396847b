"""Dead letters replayed, each once.

Who replays first ends whatever another replay of the same topic has left open, and only then reads which letters were
replayed. Notes of that are committed together with the requests. So a replay can be killed, repeated or started twice
at the same time, and sends nothing twice.
"""

import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire import contract
from pelton.producers.dead_letters.letters import DeadLetter, LetterPosition, Selection
from pelton.producers.dead_letters.reader import DeadLetterLog, look_at
from pelton.producers.dead_letters.replay_sender import ReplaySender
from pelton.producers.errors import ReplayFailed
from pelton.producers.kafka.cluster import look_up

MAX_CHUNK = 100
MAX_CHUNK_BYTES = 4 * 1024 * 1024
"""Letters, and bytes of theirs, in one transaction: enough for thousands a second, little to hold and to repeat."""


@dataclass(slots=True)
class ReplayCounts:
    """What became, or would become, of the selected letters: `places` and `codes` are of those that are replayed."""

    places: set[LetterPosition] = field(default_factory=set)
    codes: Counter[str | None] = field(default_factory=Counter)
    replayed_before: set[LetterPosition] = field(default_factory=set)
    impossible: dict[LetterPosition, str] = field(default_factory=dict)
    """Letters that cannot be replayed, each with the reason."""
    missing: set[LetterPosition] = field(default_factory=set)
    """Places that were selected where no letter lies, or one that does not fit the rest of the selection."""

    def count(self, letter: DeadLetter) -> None:
        self.places.add(letter.place)
        self.codes[letter.code] += 1

    def find_missing(self, selection: Selection) -> None:
        found = self.places | self.replayed_before | self.impossible.keys()
        self.missing = set(selection.places or ()) - found


async def plan(kafka: KafkaSettings, topic: str, selection: Selection, *, again: bool = False) -> ReplayCounts:
    """What `replay` would do now, except that what turns out too large still counts as replayed. Changes nothing.

    Raises as `replay` does.
    """
    _request_topic(topic)
    log = await look_at(kafka, topic)
    tally = ReplayCounts()
    async with contextlib.aclosing(_choose(log, selection, tally, again=again)) as letters:
        async for letter in letters:
            tally.count(letter)
    tally.find_missing(selection)
    return tally


async def replay(
    kafka: KafkaSettings,
    topic: str,
    selection: Selection,
    *,
    again: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
) -> ReplayCounts:
    """Send the selected letters of the dead-letter topic `topic` to its request topic, but none a second time.

    With `again`, letters that were replayed before are sent once more. `on_progress` is called with how many are
    sent. A replay of this topic that runs elsewhere is ended. Raises `ReplayFailed`, `BrokerUnreachable`,
    `TopicMissing` or `NoProgress`; after each the call can be repeated.
    """
    requests = _request_topic(topic)
    target = (await look_up(kafka, requests, topic)).topics[requests]
    tally = ReplayCounts()
    async with ReplaySender(kafka, topic, target) as sender:
        log = await look_at(kafka, topic)  # only now: its end is behind every note that others could commit
        async with contextlib.aclosing(_choose(log, selection, tally, again=again)) as letters:
            async for chunk in _chunks(letters):
                too_large = await sender.send(chunk)
                reason = f"topic {requests} takes {target.max_message_bytes:,} bytes at most"
                tally.impossible |= dict.fromkeys(too_large, reason)
                for letter in chunk:
                    if letter.place not in too_large:
                        tally.count(letter)
                on_progress(sender.sent)
    tally.find_missing(selection)
    return tally


def obstacle(letter: DeadLetter, topic: str) -> str | None:
    """Why a letter of `topic` cannot be replayed; None when it can."""
    if letter.truncated:
        return "it was too large for the dead-letter topic, which has only the reason"
    if letter.origin is None:
        return "its headers do not tell where it came from"
    if contract.dead_letter_topic(letter.origin.topic) != topic:
        return f"it came from topic {letter.origin.topic}, whose dead letters are not here"
    return None


def _request_topic(topic: str) -> str:
    requests = topic.removesuffix(contract.DEAD_LETTER_SUFFIX)
    if requests == topic:
        raise ReplayFailed(
            f"Topic {topic} is not named like a dead-letter topic: those are called after their request topic, with "
            f"{contract.DEAD_LETTER_SUFFIX} at the end."
        )
    return requests


async def _choose(
    log: DeadLetterLog, selection: Selection, tally: ReplayCounts, *, again: bool
) -> AsyncGenerator[DeadLetter, None]:
    """The letters to replay; the other selected ones go into `tally`."""
    replays = {} if again else await log.replays()
    async with contextlib.aclosing(log.letters()) as letters:
        async for letter in letters:
            if not selection.matches(letter):
                continue
            if letter.place in replays:
                tally.replayed_before.add(letter.place)
            elif reason := obstacle(letter, log.topic):
                tally.impossible[letter.place] = reason
            else:
                yield letter


async def _chunks(letters: AsyncIterator[DeadLetter]) -> AsyncIterator[list[DeadLetter]]:
    chunk: list[DeadLetter] = []
    size = 0
    async for letter in letters:
        chunk.append(letter)
        size += len(letter.value or b"")
        if len(chunk) >= MAX_CHUNK or size >= MAX_CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
