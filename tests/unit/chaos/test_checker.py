"""The chaos checker: a clean history passes, and nothing that is put into one escapes it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.checker import NO_TOPIC, Wrong, check
from tests.chaos.history import Acts, History, Kind, Letter, Reply, Said, Sent, Stored
from tests.chaos.senders.talks import due

DUE = {Kind.GOOD: "sim:{}", Kind.BAD: "invalid_json", Kind.FAILING: "engine_error", Kind.POISON: "poisoned"}


@st.composite
def clean_histories(draw: st.DrawFn) -> History:
    """A run without fault: every stored request answered once; of the unacknowledged ones some are stored."""
    fates = st.tuples(st.sampled_from(Kind), st.sampled_from(["acknowledged", "stored", "gone"]))
    requests = [(Kind.GOOD, "acknowledged"), (Kind.BAD, "acknowledged"), *draw(st.lists(fates, max_size=20))]
    sent, stored = [], []
    for index, (kind, fate) in enumerate(requests):
        source = f"requests-{index % 3}-{index}"
        request = Sent(f"id-{index}", kind, DUE[kind].format(index), source if fate == "acknowledged" else None)
        sent.append(request)
        if fate != "gone":
            stored.append((request, Stored(source, request.correlation_id, 1_000 * index)))
    replies = [_reply(request, record) for request, record in stored]
    letters = [Letter(record.source, request.due) for request, record in stored if request.kind is not Kind.GOOD]
    return History(
        tuple(sent),
        tuple(record for _, record in stored),
        tuple(draw(st.permutations(replies))),
        tuple(draw(st.permutations(letters))),
        {"t-0": 0, "t-1": 0},
    )


def _reply(request: Sent, record: Stored) -> Reply:
    good = request.kind is Kind.GOOD
    return Reply(
        record.source,
        request.correlation_id,
        f"{request.due} jet jet" if good else None,
        None if good else request.due,
        "worker-1",
        record.timestamp_ms + 20,
    )


def _of_good(history: History) -> Reply:
    return next(reply for reply in history.replies if reply.answer)


def _of_bad(history: History) -> Reply:
    return next(reply for reply in history.replies if reply.error)


def _with_reply(history: History, old: Reply, *new: Reply) -> History:
    return replace(history, replies=(*(reply for reply in history.replies if reply is not old), *new))


def _with_letter(history: History, *new: Letter) -> History:
    return replace(history, letters=(*history.letters[1:], *new))


def _swapped(history: History) -> History:
    one, two = history.replies[:2]
    swapped = (replace(one, source=two.source), replace(two, source=one.source))
    return replace(history, replies=(*swapped, *history.replies[2:]))


def _same_ids(history: History) -> History:
    return replace(history, replies=tuple(replace(reply, completion_id="same") for reply in history.replies))


def _asking_for(history: History, partition: int) -> History:
    return replace(history, sent=tuple(replace(request, reply_partition=partition) for request in history.sent))


def _acted(history: History, **acts: Any) -> History:
    return replace(history, acts=Acts(**acts))


def _refused_for_its_topic(history: History) -> History:
    """The first good request names a reply topic, is refused for that, and has its dead letter."""
    first = _of_good(history)
    named = tuple(
        replace(request, reply_topic="own") if request.correlation_id == first.correlation_id else request
        for request in history.sent
    )
    refused = replace(first, answer=None, error=NO_TOPIC)
    with_letter = replace(history, sent=named, letters=(*history.letters, Letter(first.source, NO_TOPIC)))
    return _with_reply(with_letter, first, refused)


def _refused(history: History, *, retry_after_ms: int) -> History:
    """The first good request may be over its quota, and is said to be."""
    first = _of_good(history)
    may = tuple(
        replace(request, ends=("rate_limited",)) if request.correlation_id == first.correlation_id else request
        for request in history.sent
    )
    refused = replace(first, answer=None, error="rate_limited", retry_after_ms=retry_after_ms)
    return _with_reply(replace(history, sent=may), first, refused)


def _talked(history: History, *before: str, reverse: bool = False) -> History:
    """And a session of two turns, each of which was answered as if that had been said before."""
    sent, stored, replies = list(history.sent), list(history.stored), []
    for number, heard in enumerate(before):
        turn = Sent(f"turn-{number}", Kind.GOOD, "sim:", f"talks-0-{number}", said=Said("talk", "what?"))
        answer = due((f"user: {heard}", f"assistant: {due((), heard)}") if heard else (), "what?")
        sent.append(turn)
        stored.append(Stored(f"talks-0-{number}", turn.correlation_id, 0))
        replies.append(Reply(f"talks-0-{number}", turn.correlation_id, answer, None, "worker-1", 20))
    told = (*history.replies, *(replies[::-1] if reverse else replies))
    return replace(history, sent=tuple(sent), stored=tuple(stored), replies=told)


ANOMALIES: dict[str, tuple[Callable[[History], History], Wrong]] = {
    "no reply": (lambda h: _with_reply(h, _of_good(h)), Wrong.LOST),
    "no error reply": (lambda h: _with_reply(h, _of_bad(h)), Wrong.LOST),
    "two replies": (
        lambda h: replace(h, replies=(*h.replies, replace(_of_good(h), worker="worker-2"))),
        Wrong.TWICE,
    ),
    "a reply to nothing": (
        lambda h: replace(h, replies=(*h.replies, replace(_of_good(h), source="requests-0-777"))),
        Wrong.UNKNOWN,
    ),
    "another's answer": (
        lambda h: _with_reply(h, _of_good(h), replace(_of_good(h), answer="sim:another")),
        Wrong.CORRUPT,
    ),
    "another's correlation id": (
        lambda h: _with_reply(h, _of_good(h), replace(_of_good(h), correlation_id="id-777")),
        Wrong.CORRUPT,
    ),
    "an answer that was generated for another": (
        lambda h: _with_reply(h, _of_good(h), replace(_of_good(h), outcome="joined")),
        Wrong.CORRUPT,
    ),
    "two answers with one id": (_same_ids, Wrong.CORRUPT),
    "two replies with exchanged sources": (_swapped, Wrong.CORRUPT),
    "an error where an answer is due": (
        lambda h: _with_reply(h, _of_good(h), replace(_of_good(h), answer=None, error="engine_error")),
        Wrong.CORRUPT,
    ),
    "an answer where an error is due": (
        lambda h: _with_reply(h, _of_bad(h), replace(_of_bad(h), answer="sim:", error=None)),
        Wrong.CORRUPT,
    ),
    "another error than is due": (
        lambda h: _with_reply(h, _of_bad(h), replace(_of_bad(h), error="cancelled")),
        Wrong.CORRUPT,
    ),
    "a reply without content": (
        lambda h: _with_reply(h, _of_good(h), replace(_of_good(h), answer=None)),
        Wrong.CORRUPT,
    ),
    "no dead letter": (_with_letter, Wrong.LETTER_MISSING),
    "two dead letters": (lambda h: replace(h, letters=(*h.letters, h.letters[0])), Wrong.LETTER_EXTRA),
    "a dead letter with another reason": (
        lambda h: _with_letter(h, replace(h.letters[0], code="not_utf8")),
        Wrong.LETTER_EXTRA,
    ),
    "a dead letter for an answered request": (
        lambda h: replace(h, letters=(*h.letters, Letter(_of_good(h).source, "engine_error"))),
        Wrong.LETTER_EXTRA,
    ),
    "an acknowledged request that is not stored": (lambda h: replace(h, stored=h.stored[1:]), Wrong.MISSTORED),
    "a request stored twice": (
        lambda h: replace(h, stored=(*h.stored, replace(h.stored[0], source="requests-0-777"))),
        Wrong.MISSTORED,
    ),
    "a stored request that nobody sent": (
        lambda h: replace(h, stored=(*h.stored, Stored("requests-0-777", "id-777", 0))),
        Wrong.MISSTORED,
    ),
    "an answered record not committed": (lambda h: replace(h, lag={"t-0": 0, "t-1": 3}), Wrong.UNCOMMITTED),
    "an answer in another partition than asked for": (lambda h: _asking_for(h, 3), Wrong.MISPLACED),
    "an unreadable batch that no log names": (lambda h: replace(h, silent=("requests-0-777",)), Wrong.SILENT),
    "a dead letter that is not listed": (lambda h: replace(h, unlisted=1), Wrong.LETTER_MISSING),
    "a moved offset that nothing came of": (lambda h: _acted(h, again={_of_good(h).source: 1}), Wrong.LOST),
    "a turn that does not continue its session": (lambda h: _talked(h, "what?", ""), Wrong.FORGOTTEN),
    "turns answered in another order": (lambda h: _talked(h, "", "what?", reverse=True), Wrong.DISORDER),
    "a quota's refusal without a time": (lambda h: _refused(h, retry_after_ms=0), Wrong.CORRUPT),
    "a third reply after one moved offset": (
        lambda h: _acted(_with_reply(h, _of_good(h), *[_of_good(h)] * 3), again={_of_good(h).source: 1}),
        Wrong.TWICE,
    ),
    "two replies of a topic's former life": (
        lambda h: _acted(_with_reply(h, _of_good(h), *[_of_good(h)] * 2), void=frozenset({_of_good(h).source})),
        Wrong.TWICE,
    ),
    "a refusal for want of a topic that was there": (
        lambda h: _acted(_refused_for_its_topic(h), away=((10**9, 10**9),)),
        Wrong.CORRUPT,
    ),
}


@given(history=clean_histories())
def test_a_clean_history_passes(history):
    """One right reply for each stored request, dead letters for the refused, in any order: valid, counted, in time."""
    verdict = check(history)
    assert verdict.valid
    assert verdict.stored == verdict.replies == len(history.stored)
    assert sum(verdict.sent.values()) == len(history.sent)
    assert verdict.latency_ms == dict.fromkeys(("p50", "p95", "p99", "p100"), 20)
    assert verdict.replies_per_worker == {"worker-1": len(history.replies)}


@given(history=clean_histories())
def test_every_anomaly_is_found(history):
    """Whatever else the history holds, each anomaly put into it is reported under its name."""
    for name, (inject, wrong) in ANOMALIES.items():
        verdict = check(inject(history))
        assert not verdict.valid, name
        assert verdict.count(wrong) >= 1, name
        assert verdict.as_json()[wrong.value] == verdict.count(wrong), name


def test_each_kind_of_anomaly_is_put_in():
    """No kind that the checker knows goes without a test that it is found."""
    assert {wrong for _, wrong in ANOMALIES.values()} == set(Wrong)


@given(history=clean_histories(), data=st.data())
def test_the_exact_number_lost_and_doubled_is_told(history, data):
    """Any replies taken out, and any others repeated, are counted one by one and by their sources."""
    count = len(history.replies)
    fates = data.draw(st.lists(st.sampled_from([0, 1, 2]), min_size=count, max_size=count))
    replies = tuple(reply for reply, times in zip(history.replies, fates, strict=True) for _ in range(times))
    verdict = check(replace(history, replies=replies))
    assert (verdict.count(Wrong.LOST), verdict.count(Wrong.TWICE)) == (fates.count(0), fates.count(2))
    named = {anomaly.source for anomaly in verdict.anomalies}
    assert named == {reply.source for reply, times in zip(history.replies, fates, strict=True) if times != 1}


@pytest.mark.parametrize("kept", [0, 1])
def test_a_request_without_acknowledgement_may_be_stored_or_not(kept):
    """Stored it is owed a reply; not stored it is owed none, and neither is wrong."""
    sent = Sent("id", Kind.GOOD, "sim:1", None)
    stored = Stored("requests-0-0", "id", 0)
    reply = _reply(sent, stored)
    verdict = check(History((sent,), (stored,) * kept, (reply,) * kept, ()))
    assert verdict.valid
    assert verdict.unsure == 1
    assert check(History((sent,), (stored,), (), ())).count(Wrong.LOST) == 1


@pytest.mark.parametrize("outcome", ["hit-local", "hit-remote", "joined", "miss", "resent"])
def test_an_answer_may_be_shared_where_the_request_allows_it(outcome):
    """Equal requests have equal answers under ids of their own, and each is counted by where it came from."""
    sent = [Sent(f"id-{number}", Kind.GOOD, "sim:1", None, shareable=True) for number in range(2)]
    stored = [Stored(f"requests-0-{number}", request.correlation_id, 0) for number, request in enumerate(sent)]
    replies = [
        replace(_reply(request, record), outcome=outcome, completion_id=record.source)
        for request, record in zip(sent, stored, strict=True)
    ]
    verdict = check(History(tuple(sent), tuple(stored), tuple(replies), ()))
    assert verdict.valid
    assert verdict.outcomes == {outcome: 2}


@given(history=clean_histories())
def test_what_a_sender_is_to_expect_is_no_fault(history):
    """A refusal that says when to send again, and turns that go on from each other."""
    assert check(_refused(history, retry_after_ms=5)).valid
    assert check(_talked(history, "", "what?")).valid


@given(history=clean_histories())
def test_what_an_operator_did_is_accounted_for(history):
    """Offsets moved back are due another reply and letter, a deleted topic's requests none, its replies were given."""
    good, bad = _of_good(history), _of_bad(history)
    (letter,) = [letter for letter in history.letters if letter.source == bad.source]
    twice = replace(history, replies=(*history.replies, good, bad), letters=(*history.letters, letter))
    assert check(_acted(twice, again={good.source: 1, bad.source: 1})).valid
    assert check(_acted(_with_reply(history, good), void=frozenset({good.source}))).valid
    assert check(_acted(_with_reply(history, good), gone=frozenset({good.source}))).valid
    assert check(_acted(_refused_for_its_topic(history), away=((0, good.timestamp_ms),))).valid


def test_an_odd_record_whose_acknowledgement_was_lost_is_due_its_error():
    """Nothing in it says whose it is: it goes by its place, and is not taken for one that nobody sent."""
    stored = Stored("requests-0-7", "requests-0-7", 0, unreadable=True)
    reply = Reply(stored.source, stored.source, None, "unreadable_record", "worker-1", 5)
    letter = Letter(stored.source, "unreadable_record")
    assert check(History((), (stored,), (reply,), (letter,))).valid
    assert check(History((), (stored,), (), (letter,))).count(Wrong.LOST) == 1
    assert check(History((), (stored,), (reply,), ())).count(Wrong.LETTER_MISSING) == 1
