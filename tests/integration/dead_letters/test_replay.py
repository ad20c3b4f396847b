"""Dead letters on a real broker: replayed once each, through repeats, kills and rivals."""

import asyncio
import collections
import random
import signal
import uuid
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer

from pelton.pipeline.errors import EngineError, RequestTooLarge
from pelton.pipeline.wire.dead_letter import dead_letter
from pelton.pipeline.wire.records import OutgoingRecord, RequestRecord, Source
from pelton.producers.dead_letters import reader as dead_letter_log
from pelton.producers.dead_letters import replay as dead_letter_replay
from pelton.producers.dead_letters.letters import LetterPosition, Selection
from pelton.producers.dead_letters.replay import plan, replay
from pelton.producers.dead_letters.replay_sender import ReplaySender
from pelton.producers.errors import NoProgress, ReplayFailed

EVERYTHING = Selection()


@asynccontextmanager
async def transaction_of_another(kafka):
    """A producer whose transaction stays open until the test ends it."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id=uuid.uuid4().hex)
    await producer.start()
    await producer.begin_transaction()
    yield producer
    await producer.stop()


def assert_each_once(records, count):
    """Requests `0` to `count` have come back, each once, as what they were."""
    values = collections.Counter(record.value for record in records)
    assert values == {b"body %d" % number: 1 for number in range(count)}


async def test_a_letter_goes_back_as_the_request_it_was(graveyard):
    """Key, value, headers and partition are the request's; nothing of the dead letter is left on it."""
    sent = [("x", None), ("x", b"\xff"), ("pelton-tenant", b"acme")]
    (place,) = await graveyard.bury(graveyard.letter(5, value=b'{"a": 1}', key=b"key", headers=sent))
    done = await replay(graveyard.kafka, graveyard.topic, EVERYTHING)
    (record,) = await graveyard.replayed()
    assert done.places == {place}
    assert done.codes == {"out_of_memory": 1}
    assert (record.key, record.value, record.partition) == (b"key", b'{"a": 1}', 2)
    assert list(record.headers) == [("kafka_correlationId", b"id-5"), *sent]


async def test_replayed_twice(graveyard):
    """The second replay finds the notes and sends nothing; `again` sends all once more."""
    await graveyard.bury_many(250)
    first = await replay(graveyard.kafka, graveyard.topic, EVERYTHING)
    second = await replay(graveyard.kafka, graveyard.topic, EVERYTHING)
    assert_each_once(await graveyard.replayed(), 250)
    assert (len(first.places), len(first.replayed_before)) == (250, 0)
    assert (len(second.places), len(second.replayed_before)) == (0, 250)
    await replay(graveyard.kafka, graveyard.topic, EVERYTHING, again=True)
    assert len(await graveyard.replayed()) == 500


async def test_a_request_that_fails_again_can_be_replayed_again(graveyard):
    """Its new letter has a place of its own, whatever became of the first."""
    await graveyard.bury(graveyard.letter(1))
    await replay(graveyard.kafka, graveyard.topic, EVERYTHING)
    (record,) = await graveyard.replayed()
    request = RequestRecord(
        Source(record.topic, record.partition, record.offset), record.key, record.value, record.headers, 1, 0
    )
    (place,) = await graveyard.bury(dead_letter(request, EngineError("Again."), "group"))
    done = await replay(graveyard.kafka, graveyard.topic, EVERYTHING)
    assert (done.places, len(done.replayed_before)) == ({place}, 1)
    records = await graveyard.replayed()
    assert [dict(record.headers)["kafka_correlationId"] for record in records] == [b"id-1", b"id-1"]


async def test_only_what_is_selected(graveyard):
    """What was replayed is not a prefix: the others stay, and a wider replay sends them and no others."""
    places = await graveyard.bury_many(30)
    odd = frozenset(places[1::2])
    planned = await plan(graveyard.kafka, graveyard.topic, Selection(places=odd))
    assert await graveyard.replayed() == []
    done = await replay(graveyard.kafka, graveyard.topic, Selection(places=odd))
    assert planned.places == done.places == odd
    assert {record.value for record in await graveyard.replayed()} == {b"body %d" % n for n in range(1, 30, 2)}
    rest = await replay(graveyard.kafka, graveyard.topic, EVERYTHING)
    assert rest.places == set(places) - odd
    assert_each_once(await graveyard.replayed(), 30)


async def test_a_place_without_a_letter(graveyard):
    """It is named, a note's place as well; the rest is replayed."""
    (place,) = await graveyard.bury(graveyard.letter())
    nowhere = {LetterPosition(0, 99), LetterPosition(7, 0)}
    done = await replay(graveyard.kafka, graveyard.topic, Selection(places=frozenset({place, *nowhere})))
    assert (done.places, done.missing) == ({place}, nowhere)
    note = LetterPosition(place.partition, place.offset + 1)
    again = await replay(graveyard.kafka, graveyard.topic, Selection(places=frozenset({note})))
    assert (again.places, again.missing) == (set(), {note})


async def test_letters_that_cannot_be_replayed(graveyard):
    """Each is named with the reason, whatever else is replayed: no body left, no origin, another's, too large."""
    truncated = graveyard.letter(1, RequestTooLarge("Too large.")).fallback
    foreign = OutgoingRecord(graveyard.topic, b"?", None, [("kafka_dlt-original-topic", b"t")])
    other = dead_letter(RequestRecord(Source("other", 0, 1), None, b"{}", (), 1, 0), EngineError("x"), "group")
    elsewhere = OutgoingRecord(graveyard.topic, b"{}", None, other.headers)
    large = graveyard.letter(2, value=b"x" * 1_048_588)
    *bad, good = await graveyard.bury(truncated, foreign, elsewhere, large, graveyard.letter(3, value=b"body 0"))
    done = await replay(graveyard.kafka, graveyard.topic, EVERYTHING)
    assert done.places == {good}
    assert [done.impossible[place] for place in bad] == [
        "it was too large for the dead-letter topic, which has only the reason",
        "its headers do not tell where it came from",
        "it came from topic other, whose dead letters are not here",
        f"topic {graveyard.requests} takes 1,048,588 bytes at most",
    ]
    assert_each_once(await graveyard.replayed(), 1)


async def test_tombstones(graveyard):
    """A letter without a value is replayed with the key it has."""
    await graveyard.bury(graveyard.letter(1, value=None, key=b"key"), graveyard.letter(2, value=None))
    await replay(graveyard.kafka, graveyard.topic, EVERYTHING)
    back = {(record.key, record.value) for record in await graveyard.replayed()}
    assert back == {(b"key", None), (f"{graveyard.requests}-2-1002".encode(), None)}


async def test_a_topic_that_is_no_dead_letter_topic(graveyard):
    """Replaying requests onto nowhere is refused by name."""
    with pytest.raises(ReplayFailed, match="is not named like a dead-letter topic"):
        await replay(graveyard.kafka, graveyard.requests, EVERYTHING)


async def wait_for(reader, count):
    """Read until so many more requests are back; return how many there are."""
    found = 0
    while found < count:
        found += sum(map(len, (await reader.getmany(timeout_ms=1_000)).values()))
    return found


async def test_killed_and_interrupted_again_and_again(graveyard):
    """Ended by SIGKILL or Ctrl-C at random moments and run again, it brings every letter back exactly once."""
    count, chance = 4_000, random.Random(6)
    await graveyard.bury_many(count)
    ends = []
    for number in range(20):
        async with graveyard.reader() as reader:
            await reader.seek_to_end()
            process = await graveyard.command("replay", "--yes")
            finished = asyncio.create_task(process.communicate())
            # More than a kill can have left half committed: it is this process that has come so far.
            back = asyncio.create_task(wait_for(reader, chance.randrange(101, count // 2)))
            await asyncio.wait([finished, back], return_when=asyncio.FIRST_COMPLETED)
            if not finished.done():
                process.send_signal((signal.SIGKILL, signal.SIGINT)[number % 2])
            back.cancel()
            await asyncio.wait([back])
        out, err = await finished
        ends.append(process.returncode)
        if process.returncode not in {-signal.SIGKILL, 130}:
            break
    assert ends[:2] == [-signal.SIGKILL, 130], err
    assert ends[-1] == 0, err
    assert b"dead letters replayed from" in out
    assert_each_once(await graveyard.replayed(), count)


async def test_two_at_once(graveyard):
    """The later one takes over and sends the rest; the earlier one says so, in one line. Nothing is sent by both."""
    count = 3_000
    await graveyard.bury_many(count)
    first = await graveyard.command("replay", "--yes")
    async with graveyard.reader() as reader:
        await wait_for(reader, 1)
    second = await replay(graveyard.kafka, graveyard.topic, EVERYTHING)
    _, told = await first.communicate()
    assert first.returncode == 2
    assert told.decode() == (
        f"pelton: Another replay of topic {graveyard.topic} has started, or this one stood still for more than 15 s: "
        f"Kafka ended this one. Letters replayed until then, and noted: {len(second.replayed_before):,}. Replay again "
        "for the rest.\n"
    )
    assert 0 < len(second.replayed_before) < count
    assert_each_once(await graveyard.replayed(), count)


async def test_what_another_does_before_the_takeover(graveyard, monkeypatch):
    """What is committed up to the moment that others are shut out is found as replayed."""
    await graveyard.bury_many(20)

    class LateSender(ReplaySender):
        async def __aenter__(self):
            monkeypatch.undo()
            await replay(graveyard.kafka, graveyard.topic, EVERYTHING)
            return await super().__aenter__()

    monkeypatch.setattr(dead_letter_replay, "ReplaySender", LateSender)
    done = await replay(graveyard.kafka, graveyard.topic, EVERYTHING)
    assert (len(done.places), len(done.replayed_before)) == (0, 20)
    assert_each_once(await graveyard.replayed(), 20)


async def test_notes_behind_an_open_transaction(graveyard, monkeypatch):
    """Notes that an unrelated open transaction hides for now are waited for, not taken for missing."""
    await graveyard.bury(*[graveyard.letter(number, value=b"body %d" % number) for number in range(5)], partition=0)
    looked = asyncio.Event()

    async def look_at(*arguments):
        log = await dead_letter_log.look_at(*arguments)
        looked.set()
        return log

    async with transaction_of_another(graveyard.kafka) as other:

        async def look_and_write(*arguments):
            log = await dead_letter_log.look_at(*arguments)
            await graveyard.bury(graveyard.letter(5, value=b"body 5"), producer=other, partition=0)
            return log

        monkeypatch.setattr(dead_letter_replay, "look_at", look_and_write)
        await replay(graveyard.kafka, graveyard.topic, EVERYTHING)
        monkeypatch.setattr(dead_letter_replay, "look_at", look_at)
        second = asyncio.create_task(replay(graveyard.kafka, graveyard.topic, EVERYTHING))
        await looked.wait()
        await other.commit_transaction()
        done = await second
    assert (len(done.places), len(done.replayed_before)) == (1, 5)
    assert_each_once(await graveyard.replayed(), 6)


async def test_a_transaction_that_never_ends(graveyard, monkeypatch):
    """After a while the reader says what keeps it."""
    monkeypatch.setattr(dead_letter_log, "PATIENCE_S", 0.3)
    async with transaction_of_another(graveyard.kafka) as other:
        await graveyard.bury(graveyard.letter(), producer=other)
        with pytest.raises(NoProgress, match="somebody's transaction has been open"):
            await plan(graveyard.kafka, graveyard.topic, EVERYTHING)
        await other.abort_transaction()
    monkeypatch.undo()
    assert (await plan(graveyard.kafka, graveyard.topic, EVERYTHING)).places == set()
