"""Suspicions on a real broker: shared by a group's workers, outliving them, and withdrawn; and evicting the dead."""

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import AsyncMock

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from pydantic import SecretStr

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire.records import Source
from pelton.workers.kafka.remove_members import remove_members
from pelton.workers.kafka.topics import ensure_topics
from pelton.workers.quarantine.crash_history import CrashHistory
from pelton.workers.quarantine.in_flight_journal import Entry
from pelton.workers.quarantine.suspects import SuspectFeed, SuspectTable, publish_suspects
from pelton.workers.supervisor.crash_handler import crash_handler
from pelton.workers.supervisor.replica import Crash
from tests.waiting import until

LIMIT_S = 60
NAME = uuid.uuid4().hex[:8]
"""Of this run's topics: other runs may share the broker."""
ONE, TWO = Source(f"requests-{NAME}", 0, 1), Source(f"requests-{NAME}", 5, 2**40)
LONG_AGO_MS = 0


@pytest.fixture
async def kafka(kafka_bootstrap: str) -> AsyncIterator[KafkaSettings]:
    """Topics of this test's own."""
    name = uuid.uuid4().hex[:8]
    settings = KafkaSettings(
        bootstrap_servers=kafka_bootstrap,
        group_id=f"group-{name}",
        request_topics=(f"requests-{NAME}",),
        reply_topic=f"replies-{name}",
        suspects_topic=f"suspects-{name}",
        create_topics=True,
        partitions=2,
    )
    await ensure_topics(settings)
    yield settings
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    await admin.delete_topics([settings.suspects_topic, settings.reply_topic, *settings.request_topics])
    await admin.close()


@asynccontextmanager
async def follower(kafka: KafkaSettings) -> AsyncIterator[SuspectTable]:
    table = SuspectTable()
    feed = SuspectFeed(kafka, table)
    await feed.start()
    try:
        yield table
    finally:
        await feed.stop()


async def test_the_topic_is_made_to_remember_each_suspect_once(kafka):
    """Compacted, so that it stays as small as the number of suspects; one partition, so that its end is one number."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    (described,) = await admin.describe_topics([kafka.suspects_topic])
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, kafka.suspects_topic)])
    await admin.close()
    configs = {name: value for name, value, *_ in answer.resources[0][4]}
    assert len(described["partitions"]) == 1
    assert set(configs["cleanup.policy"].split(",")) == {"compact", "delete"}
    assert configs["message.timestamp.type"] == "LogAppendTime"


async def test_a_worker_knows_all_suspects_before_it_takes_records(kafka):
    """What was written before it started is there when `start` returns; the last word on each counts."""
    await publish_suspects(kafka, {ONE: CrashHistory(1, 8, 0), TWO: CrashHistory(1, 8, 0)})
    await publish_suspects(kafka, {ONE: CrashHistory(2, 2, 0)})
    async with follower(kafka) as table:
        assert (table.get(ONE, LONG_AGO_MS), table.get(TWO, LONG_AGO_MS), len(table)) == (
            CrashHistory(2, 2, 0),
            CrashHistory(1, 8, 0),
            2,
        )


async def test_a_feed_without_news_holds_up_nobody(kafka):
    """The broker holds a fetch that finds nothing for seconds; neither start nor stop waits behind one."""
    await publish_suspects(kafka, {ONE: CrashHistory(1, 8, 0)})
    async with asyncio.timeout(kafka.request_timeout_ms / 1000 / 4):
        async with follower(kafka) as table:
            assert len(table) == 1


async def test_suspicions_reach_running_workers_and_are_withdrawn_for_all(kafka):
    """A partition may move to any of them; once its request is answered no worker isolates it any more, ever."""
    async with follower(kafka) as one, follower(kafka) as other:
        await publish_suspects(kafka, {ONE: CrashHistory(1, 1, 1), TWO: CrashHistory(1, 1, 1)})
        await until(lambda: len(one) == len(other) == 2)
        one.settle([ONE, Source(f"requests-{NAME}", 0, 77)])
        await until(lambda: other.get(ONE, LONG_AGO_MS) is None)
        assert other.get(TWO, LONG_AGO_MS) == CrashHistory(1, 1, 1)
    async with follower(kafka) as later:
        assert (later.get(ONE, LONG_AGO_MS), later.get(TWO, LONG_AGO_MS)) == (None, CrashHistory(1, 1, 1))


async def test_what_a_dead_worker_could_not_withdraw_is_withdrawn_later(kafka):
    """Whoever takes the partition over knows from the commit what is answered."""
    await publish_suspects(kafka, {ONE: CrashHistory(1, 1, 1), TWO: CrashHistory(1, 1, 1)})
    async with follower(kafka) as table:
        table.settle_if(lambda source: source.offset < 10)
        assert len(table) == 1
    async with follower(kafka) as later:
        assert (later.get(ONE, LONG_AGO_MS), later.get(TWO, LONG_AGO_MS)) == (None, CrashHistory(1, 1, 1))


async def test_each_group_has_its_own_suspects(kafka):
    """Another group's workers run the same requests on other machines: what they die of is theirs."""
    other = kafka.model_copy(update={"group_id": "another"})
    await publish_suspects(other, {ONE: CrashHistory(1, 1, 1)})
    async with follower(kafka) as table, follower(other) as others:
        assert (len(table), len(others)) == (0, 1)


async def test_no_record_keeps_a_worker_from_starting(kafka, caplog):
    """Whatever lies there is ignored, with one line about all of it; the suspicion behind it is read."""
    key = orjson.dumps([kafka.group_id, ONE.topic, 0, 1])
    odd = [
        (b"no key of ours", b"{}"),
        (b"", b"x"),
        (key, b'{"crashes":1099511627776,"together":1,"alone":1}'),
        (key, b'{"crashes":1,"together":true,"alone":0}'),
        (key, b"[" * 100_000),
        (b"k" * 900_000, b"v"),
    ]
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
        for record in odd:
            await producer.send_and_wait(kafka.suspects_topic, record[1], record[0])
    await publish_suspects(kafka, {TWO: CrashHistory(1, 1, 1)})
    async with follower(kafka) as table:
        assert (table.get(ONE, LONG_AGO_MS), table.get(TWO, LONG_AGO_MS)) == (None, CrashHistory(1, 1, 1))
    assert caplog.text.count(f"of topic {kafka.suspects_topic}") == 1
    assert all(len(record.getMessage()) < 1_000 for record in caplog.records)


async def test_nobody_condemns_what_is_yet_to_come(kafka):
    """The broker stamps suspicions: one that its writer dates ahead does not hold for a request sent after it."""
    key, value = orjson.dumps([kafka.group_id, ONE.topic, 0, 1]), b'{"crashes":9,"together":1,"alone":9}'
    now_ms = round(time.time() * 1000)
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
        await producer.send_and_wait(kafka.suspects_topic, value, key, timestamp_ms=now_ms + 86_400_000)
    async with follower(kafka) as table:
        assert table.get(ONE, now_ms - 1_000) == CrashHistory(9, 1, 9)
        assert table.get(ONE, now_ms + 60_000) is None


async def test_a_group_with_a_secret_ignores_what_is_not_signed_with_it(kafka):
    """Suspicions and withdrawals alike; its own it reads, those of another secret it does not."""
    signing = kafka.model_copy(update={"group_secret": SecretStr("of this group")})
    wrong = kafka.model_copy(update={"group_secret": SecretStr("a guess")})
    await publish_suspects(signing, {ONE: CrashHistory(1, 1, 1)})
    for forger in (kafka, wrong):
        await publish_suspects(forger, {ONE: None, TWO: CrashHistory(9, 1, 9)})
    async with follower(signing) as table:
        assert (table.get(ONE, LONG_AGO_MS), len(table)) == (CrashHistory(1, 1, 1), 1)
    await publish_suspects(signing, {ONE: None})
    async with follower(signing) as table:
        assert not table


async def test_a_topic_that_cannot_be_read_does_not_keep_a_worker_from_starting(kafka, monkeypatch, caplog):
    """It starts without the suspects, says so, and goes on trying."""
    await publish_suspects(kafka, {ONE: CrashHistory(1, 1, 1)})
    monkeypatch.setattr("pelton.workers.quarantine.suspects.CATCH_UP_S", 0.3)
    table = SuspectTable()
    feed = SuspectFeed(kafka, table)
    good = feed._consumer.getmany
    feed._consumer.getmany = AsyncMock(side_effect=UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no header name"))
    await feed.start()
    try:
        assert "could not be read to its end" in caplog.text
        feed._consumer.getmany = good
        await until(lambda: len(table) == 1)
    finally:
        await feed.stop()


JOIN = """
import asyncio, sys
from aiokafka import AIOKafkaConsumer
async def main(bootstrap, group, topic):
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=group, client_id="doomed", session_timeout_ms=30_000
    )
    await consumer.start()
    print("joined", flush=True)
    await asyncio.sleep(60)
asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_dead_member_s_partitions_move_at_once(kafka):
    """Not after its session time-out of 30 s: the time-out of this test is shorter. Nobody else is evicted."""
    arguments = (kafka.bootstrap_servers, kafka.group_id, kafka.request_topics[0])
    doomed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", JOIN, *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert await doomed.stdout.readline() == b"joined\n"
    doomed.kill()
    await doomed.communicate()
    assert await remove_members(kafka, "somebody else") == 0
    assert await remove_members(kafka, "doomed") == 1
    heir = AIOKafkaConsumer(*kafka.request_topics, bootstrap_servers=kafka.bootstrap_servers, group_id=kafka.group_id)
    async with asyncio.timeout(LIMIT_S):
        await heir.start()
    assert len(heir.assignment()) == 2
    await heir.stop()
    assert await remove_members(kafka, "doomed") == 0


async def test_after_a_crash_the_suspects_are_known_before_the_partitions_move(kafka):
    """Counts go up by one, with how many ran together; a request that ran alone is counted as that."""
    entries = (Entry(ONE, CrashHistory()), Entry(TWO, CrashHistory(3, 4, 0)))
    await crash_handler(kafka)(Crash("dead", entries))
    await crash_handler(kafka)(Crash("dead", (Entry(ONE, CrashHistory(1, 2, 0)),)))
    async with follower(kafka) as table:
        assert (table.get(ONE, LONG_AGO_MS), table.get(TWO, LONG_AGO_MS)) == (
            CrashHistory(2, 1, 1),
            CrashHistory(4, 2, 0),
        )


async def test_a_crash_without_kafka_is_no_reason_to_give_up(kafka, caplog, monkeypatch):
    """The parent says what is the matter, and goes on without the suspicions after a while."""
    monkeypatch.setattr("pelton.workers.supervisor.crash_handler.REPORT_S", 0.5)
    away = kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    await crash_handler(away)(Crash("dead", (Entry(ONE, CrashHistory()),)))
    assert f"See that topic {kafka.suspects_topic} exists" in caplog.text
    assert "only after the session time-out" in caplog.text
