"""The checker: reads the history of a run and says what is wrong with it. Pure.

The invariants are those of Jepsen's Kafka workload, for a queue that answers. The request topic itself says what was
sent: a request whose acknowledgement was lost is there or is not, and is owed one reply or none.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pelton.pipeline.wire.contract import CacheOutcome
from tests.chaos.history import Acts, History, Kind, Reply, Sent, Stored, latency_ms
from tests.chaos.senders import talks
from tests.chaos.senders.wishes import LIMITED

EXAMPLES = 50
"""How many anomalies a verdict's JSON spells out."""
NO_TOPIC = "invalid_header"
"""The error of a request that names a topic which does not exist."""
BELIEVED_MS = 30_000
"""How long a worker may believe that a topic is still away, or still there, and need to publish what it concluded."""
SHARED = frozenset({CacheOutcome.HIT_LOCAL, CacheOutcome.HIT_REMOTE, CacheOutcome.JOINED})


class Wrong(StrEnum):
    """Every kind of anomaly."""

    LOST = "lost"
    """A stored request without a reply."""
    TWICE = "twice"
    """A reply after the first for the same request."""
    UNKNOWN = "unknown"
    """A reply for a record that was never sent."""
    CORRUPT = "corrupt"
    """A reply that is not this request's: another correlation id, answer or error than is due, or an answer that was
    generated for another though the two may not share, or that has another reply's id."""
    LETTER_MISSING = "letter_missing"
    """A refused request without its dead letter."""
    LETTER_EXTRA = "letter_extra"
    """A dead letter that is not due: a second one, one of an answered request, or one with another reason."""
    MISSTORED = "misstored"
    """The request topic contradicts Kafka's acknowledgements: nothing else about the run can be trusted."""
    UNCOMMITTED = "uncommitted"
    """An answered record whose offset is not committed: the next worker would answer it again."""
    MISPLACED = "misplaced"
    """An answer that is not where its sender asked for it, though there was such a place."""
    SILENT = "silent"
    """A batch that cannot be read was passed over without a word in any log."""
    FORGOTTEN = "forgotten"
    """A turn of a session was not answered with all that was said before it, once."""
    DISORDER = "disorder"
    """A turn of a session was answered before an earlier one."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One thing wrong, with the record it is wrong about."""

    wrong: Wrong
    source: str
    note: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`sent` counts requests by kind, `unsure` those of them without acknowledgement."""

    anomalies: tuple[Anomaly, ...]
    sent: Mapping[str, int]
    unsure: int
    stored: int
    replies: int
    letters: int
    replies_per_worker: Mapping[str, int]
    outcomes: Mapping[str, int]
    errors: Mapping[str, int]
    latency_ms: Mapping[str, int]

    @property
    def valid(self) -> bool:
        return not self.anomalies

    def count(self, wrong: Wrong) -> int:
        return sum(anomaly.wrong is wrong for anomaly in self.anomalies)

    def as_json(self) -> dict[str, Any]:
        return {
            "valid": self.valid,
            **{wrong.value: self.count(wrong) for wrong in Wrong},
            "sent": dict(self.sent),
            "unsure": self.unsure,
            "stored": self.stored,
            "replies": self.replies,
            "letters": self.letters,
            "replies_per_worker": dict(self.replies_per_worker),
            "outcomes": dict(self.outcomes),
            "errors": dict(self.errors),
            "latency_ms": dict(self.latency_ms),
            "examples": [f"{a.wrong} {a.source}: {a.note}" for a in self.anomalies[:EXAMPLES]],
        }


def check(history: History) -> Verdict:
    """Weigh a whole run."""
    sent = {request.correlation_id: request for request in history.sent}
    sent |= {record.source: _without_id(record) for record in history.stored if _is_unsure(record, sent)}
    owed = {record.source: sent[record.correlation_id] for record in history.stored if record.correlation_id in sent}
    anomalies = (
        *_misstored(sent, history.stored),
        *_badly_answered(owed, history),
        *_confused(history.replies),
        *_misplaced(owed, history.replies),
        *_badly_buried(owed, history),
        *_badly_continued(owed, history),
        *(Anomaly(Wrong.UNCOMMITTED, f"partition {p}", f"{lag} records") for p, lag in history.lag.items() if lag),
        *(Anomaly(Wrong.SILENT, source, "passed over, and no log names it") for source in history.silent),
    )
    return Verdict(
        anomalies=anomalies,
        sent=Counter(request.kind.value for request in history.sent),
        unsure=sum(request.source is None for request in history.sent),
        stored=len(history.stored),
        replies=len(history.replies),
        letters=len(history.letters),
        replies_per_worker=Counter(reply.worker for reply in history.replies),
        outcomes=Counter(reply.outcome for reply in history.replies if reply.outcome),
        errors=Counter(reply.error for reply in history.replies if reply.error is not None),
        latency_ms=latency_ms(history.stored, history.replies),
    )


def _misstored(sent: Mapping[str, Sent], stored: Sequence[Stored]) -> Iterator[Anomaly]:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for record in stored:
        places[record.correlation_id].append(record.source)
    for correlation_id in sorted(places.keys() - sent.keys()):
        yield Anomaly(Wrong.MISSTORED, places[correlation_id][0], f"{correlation_id} was never sent")
    for request in sent.values():
        found = places[request.correlation_id]
        if request.source is not None and found != [request.source]:
            yield Anomaly(
                Wrong.MISSTORED, request.source, f"acknowledged for {request.correlation_id}, found at {found}"
            )
        elif len(found) > 1:
            yield Anomaly(Wrong.MISSTORED, found[0], f"{request.correlation_id} is stored also at {found[1:]}")


def _is_unsure(record: Stored, sent: Mapping[str, Sent]) -> bool:
    """Whether it is an odd record whose acknowledgement was lost: it has no id, so nothing in it says which."""
    return record.correlation_id == record.source and record.source not in sent


def _without_id(record: Stored) -> Sent:
    return Sent(record.source, Kind.BAD, "unreadable_record" if record.unreadable else "invalid_header", None)


def _badly_answered(owed: Mapping[str, Sent], history: History) -> Iterator[Anomaly]:
    known = {record.source: record for record in history.stored}
    given: defaultdict[str, list[Reply]] = defaultdict(list)
    for reply in history.replies:
        if reply.source not in known:
            yield Anomaly(Wrong.UNKNOWN, reply.source, f"replied to by {reply.worker}, but never stored")
        elif len(given[reply.source]) > history.acts.again.get(reply.source, 0):
            yield Anomaly(Wrong.TWICE, reply.source, _both(given[reply.source][-1], reply))
        if reply.source in owed and (fault := _fault(owed[reply.source], reply, history.acts)):
            yield Anomaly(Wrong.CORRUPT, reply.source, fault)
        given[reply.source].append(reply)
    for source, record in sorted(known.items()):
        due = _times(source, history.acts)
        if len(given[source]) < due - (source in history.acts.gone):
            yield Anomaly(Wrong.LOST, source, f"{record.correlation_id}: {len(given[source])} replies of {due}")


def _times(source: str, acts: Acts) -> int:
    """How many replies a source is due at least."""
    return 0 if source in acts.void else 1 + acts.again.get(source, 0)


def _confused(replies: Sequence[Reply]) -> Iterator[Anomaly]:
    """Answers to different requests under one id."""
    first: dict[str, Reply] = {}
    for reply in replies:
        other = first.setdefault(reply.completion_id, reply)
        if reply.completion_id and other.source != reply.source:
            yield Anomaly(Wrong.CORRUPT, reply.source, f"its id {reply.completion_id} is that of {other.source} too")


def _both(one: Reply, two: Reply) -> str:
    return f"by {one.worker} at {one.timestamp_ms}, by {two.worker} {two.timestamp_ms - one.timestamp_ms} ms later"


def _misplaced(owed: Mapping[str, Sent], replies: Sequence[Reply]) -> Iterator[Anomaly]:
    """Answers elsewhere than asked for; a topic that was deleted meanwhile has another in its place."""
    for reply in replies:
        request = owed.get(reply.source)
        if request is None or reply.answer is None or request.reply_topic is not None:
            continue
        if request.reply_partition not in (None, reply.partition):
            note = f"partition {request.reply_partition} was asked for, it is in {reply.partition}"
            yield Anomaly(Wrong.MISPLACED, reply.source, note)


def _badly_continued(owed: Mapping[str, Sent], history: History) -> Iterator[Anomaly]:
    for fault in talks.faults(owed, history.replies, history.wipes):
        yield Anomaly(Wrong.DISORDER if fault.disorder else Wrong.FORGOTTEN, fault.source, fault.note)


def _fault(request: Sent, reply: Reply, acts: Acts) -> str | None:
    """What is wrong with a reply to `request`; None for the right one."""
    if reply.correlation_id != request.correlation_id:
        return f"correlation id {reply.correlation_id!r} instead of {request.correlation_id!r}"
    if reply.outcome in SHARED and not request.shareable:
        return f"{reply.outcome}: an answer that was generated for another"
    if _found_no_topic(request, reply, acts) or _ended_early(request, reply):
        return None
    if request.kind is Kind.GOOD:
        right = reply.answer is not None and reply.answer.startswith(request.due)
    else:
        right = reply.error == request.due
    return None if right else f"{request.due!r} is due, got answer {reply.answer!r:.80}, error {reply.error!r}"


def _found_no_topic(request: Sent, reply: Reply, acts: Acts) -> bool:
    """Whether it is refused for naming a reply topic which was not there then."""
    return (
        request.reply_topic is not None
        and reply.error == NO_TOPIC
        and any(since <= reply.timestamp_ms <= until + BELIEVED_MS for since, until in acts.away)
    )


def _ended_early(request: Sent, reply: Reply) -> bool:
    """Whether it ends with an error that its sender is to expect; over its quota, with when to send it again."""
    return reply.error in request.ends and (reply.error != LIMITED or reply.retry_after_ms > 0)


def _badly_buried(owed: Mapping[str, Sent], history: History) -> Iterator[Anomaly]:
    due = {source: request.due for source, request in owed.items() if request.kind is not Kind.GOOD and request.letter}
    due |= {reply.source: NO_TOPIC for reply in history.replies if reply.source in owed and reply.error == NO_TOPIC}
    seen: Counter[str] = Counter()
    for letter in history.letters:
        if seen[letter.source] > history.acts.again.get(letter.source, 0):
            yield Anomaly(Wrong.LETTER_EXTRA, letter.source, "a second dead letter")
        elif letter.code != due.get(letter.source):
            reason = due.get(letter.source, "none")
            yield Anomaly(Wrong.LETTER_EXTRA, letter.source, f"a dead letter for {letter.code!r}, due is {reason!r}")
        seen[letter.source] += 1
    for source in sorted(due):
        if seen[source] < min(1, _times(source, history.acts)):
            yield Anomaly(Wrong.LETTER_MISSING, source, f"no dead letter for {due[source]!r}")
    if history.unlisted:
        yield Anomaly(Wrong.LETTER_MISSING, "pelton dlt list", f"does not show {history.unlisted} of the letters")
