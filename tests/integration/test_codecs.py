"""Whatever codec a producer or a topic has, each topic of a worker's and of the dead-letter tools' is read."""

import asyncio
import uuid
from contextlib import aclosing

import pytest

from pelton.pipeline.wire.records import Source
from pelton.producers import InferenceClient, ReplyError
from pelton.producers.dead_letters.letters import Selection
from pelton.producers.dead_letters.reader import look_at
from pelton.producers.dead_letters.replay import replay
from pelton.workers.kafka import sieve
from pelton.workers.kafka.unpacking import unpacked
from pelton.workers.quarantine.crash_history import CrashHistory
from pelton.workers.quarantine.suspects import SuspectFeed, SuspectTable, publish_suspects
from tests.integration.compressed import CODECS, new_topics_compressed
from tests.raw_batches import CODEC_NUMBERS

HELLO = [{"role": "user", "content": "hello " * 50}]


@pytest.mark.parametrize("codec", CODECS)
async def test_requests_replies_letters_and_suspects_are_read_compressed(place, monkeypatch, codec):
    """An answer arrives, a suspicion is known, a dead letter is listed, replayed and noted as replayed."""
    seen = set()

    def noted(number: int, *arguments):
        seen.add(number)
        return unpacked(number, *arguments)

    monkeypatch.setattr(sieve, "unpacked", noted)
    with new_topics_compressed(codec):
        at = await place(partitions=1, kafka={"suspects_topic": f"suspects-{uuid.uuid4().hex[:8]}"})
    kafka = at.settings.kafka
    async with at.worker(), InferenceClient(kafka) as client:
        assert (await client.complete(HELLO, timeout_s=60)).choices
        with pytest.raises(ReplyError):
            await client.complete(HELLO, model="nobody's", timeout_s=60)
        assert (await replay(kafka, at.dead_letters, Selection())).places
        await until_letters(kafka, at.dead_letters, 2)
    assert len(await (await look_at(kafka, at.dead_letters)).replays()) == 1
    suspect = Source(at.requests, 0, 0)
    await publish_suspects(kafka, {suspect: CrashHistory(1, 1, 1)})
    table = SuspectTable()
    feed = SuspectFeed(kafka, table)
    await feed.start()
    await feed.stop()
    assert table.get(suspect, 0) == CrashHistory(1, 1, 1)
    assert CODEC_NUMBERS[codec] in seen


async def until_letters(kafka, topic: str, count: int) -> None:
    """Wait until so many letters are listed."""
    async with asyncio.timeout(60):
        while True:
            async with aclosing((await look_at(kafka, topic)).letters()) as letters:
                if len([letter async for letter in letters]) >= count:
                    return
