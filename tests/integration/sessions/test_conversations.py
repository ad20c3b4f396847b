"""Sessions through a real Kafka, Redis and worker: every answer is given to the whole conversation before it."""

import asyncio
import time
from typing import Any

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from pelton.pipeline.wire.chat import Message
from tests.faulty.engine import Mark
from tests.integration.sessions.talk import Talk, read_by_model
from tests.waiting import until


async def test_a_worker_remembers_what_was_said(scene):
    """Each follow-up is answered with all turns before it, by the next worker too; sessions are apart."""
    async with scene(partitions=3) as it:
        talks = [it.talk() for _ in range(4)]
        for first in (0, 3):
            async with it.worker():
                for number in range(first, first + 3):
                    await asyncio.gather(*(talk.says(f"{talk.session} {number}") for talk in talks))


async def test_the_same_words_in_two_sessions_get_answers_of_their_own(scene):
    """A follow-up means what was said before it: neither cache, flight nor resend shares between the two."""
    async with scene(partitions=2) as it, it.worker() as worker:
        one, other = it.talk(), it.talk()
        await one.says("tell me of jets", temperature=0)
        await other.says("tell me of wheels", temperature=0)
        for talk in (one, other):
            talk.hears("go on", await talk.send("go on", correlation_id=b"1"))
        assert one.said[-1] != other.said[-1]
        assert len(worker.generated) == 4


async def test_a_tenants_session_is_its_own(scene):
    """Two tenants may use the same name; what one says the other never reads."""
    async with scene(partitions=1) as it, it.worker():
        ours = it.talk("acme")
        theirs = Talk(it.client, ours.session, "rival")
        await ours.says("our secret")
        await theirs.says("what did they say?")
        await ours.says("and now?")


async def test_turns_sent_at_once_are_answered_one_after_the_other(scene):
    """Nobody waits for the answer before sending the next: each is answered with all before it, in their order."""
    async with scene(partitions=1, simulated={"itl_ms": 5}) as it, it.worker() as worker:
        talk = it.talk()
        asked = [f"question {number}" for number in range(8)]
        sent = [asyncio.create_task(talk.send(text)) for text in asked]
        passing = await asyncio.wait_for(it.client.complete([{"role": "user", "content": "a plain one"}]), 5)
        assert passing.choices[0].message.content.startswith(
            read_by_model([Message(role="user", content="a plain one")])
        )
        assert len(worker.generated) < len(asked)  # it did not have to wait for all of them
        for text, reply in zip(asked, await asyncio.gather(*sent), strict=True):
            talk.hears(text, reply)
        assert len(worker.generated) == len(asked) + 1


async def test_turns_wait_their_turn_while_partitions_come_and_go(scene):
    """A second worker joins and leaves in the middle of many turns: each is answered once, after those before it."""
    slow = {"itl_ms": 25, "min_output_tokens": 20, "mean_output_tokens": 20}
    async with scene(partitions=2, simulated=slow) as it, it.worker():
        talks = [it.talk() for _ in range(4)]
        asked = [f"question {number}" for number in range(10)]
        sent = []
        for text in asked:  # in this order
            sent += [(talk, text, asyncio.create_task(talk.send(text))) for talk in talks]
            await asyncio.sleep(0.02)
        await sent[len(talks)][-1]
        async with it.worker() as second:
            async with asyncio.timeout(60):
                while not second.partitions:  # noqa: ASYNC110  # until one has moved
                    await asyncio.sleep(0.02)
        for talk, text, reply in sent:
            talk.hears(text, await reply)


async def test_the_system_message_stays_when_old_turns_go(scene):
    """Past max_context_tokens the oldest turns are dropped and forgotten; instructions are read every time."""
    async with scene(partitions=1, session={"max_context_tokens": 60}) as it, it.worker() as worker:
        session = it.talk().session
        rules = {"role": "system", "content": "be brief"}
        await it.client.complete([rules, {"role": "user", "content": "question 0"}], session=session)
        for number in range(1, 12):
            text = f"question {number}"
            await it.client.complete([{"role": "user", "content": text}], session=session, max_completion_tokens=8)
            prompt = worker.generated[-1]
            assert prompt.startswith("system: be brief\n")
            assert prompt.endswith(f"user: {text}")
            assert len(prompt) <= 4 * 60
        assert "question 0" not in prompt
        asked = [line.removeprefix("user: ") for line in prompt.splitlines() if line.startswith("user: ")]
        assert len(asked) >= 3
        assert asked == [f"question {number}" for number in range(12 - len(asked), 12)]


@pytest.mark.usefixtures("faulty_engine")
async def test_what_fails_is_not_in_the_history(scene):
    """After a body that is wrong, an engine that fails and a deadline that passes, the session is as it was."""
    async with (
        scene(
            partitions=1,
            simulated={"itl_ms": 20, "min_output_tokens": 20, "mean_output_tokens": 20},
            worker={"max_attempts": 1},
        ) as it,
        it.worker(),
    ):
        talk = it.talk()
        await talk.says("first")
        assert await talk.fails("wrong", temprature=1) == "unknown_parameter"
        assert await talk.fails(f"please, {Mark.FAIL}") == "engine_error"
        assert await talk.fails("late", deadline_ms=1) == "deadline_exceeded"
        await talk.says("second")


def waiting_turns(worker: Any) -> float:
    """Requests that wait for their turn in a session."""
    return worker.metrics.registry.get_sample_value("pelton_waiting_sessions")


async def test_a_deadline_is_kept_while_it_waits_its_turn(scene):
    """What waits behind a long answer ends when its time is up, and the conversation goes on without it."""
    async with (
        scene(partitions=1, simulated={"itl_ms": 50, "min_output_tokens": 60, "mean_output_tokens": 60}) as it,
        it.worker() as worker,
    ):
        talk = it.talk()
        long = asyncio.create_task(talk.ask("a long one"))
        await until(lambda: worker.generated)
        late = asyncio.create_task(talk.fails("an impatient one", deadline_ms=int(time.time() * 1000) + 1_000))
        await until(lambda: waiting_turns(worker) == 1)
        assert not late.done()
        assert await late == "deadline_exceeded"
        assert not long.done()
        await long
        await talk.says("go on")


async def test_a_cancelled_turn_waits_no_longer_and_was_never_said(scene, client):
    """A cancel finds a request that waits for its session; those before and after it are answered without it."""
    async with (
        scene(partitions=1, simulated={"itl_ms": 30, "min_output_tokens": 60, "mean_output_tokens": 60}) as it,
        it.worker() as worker,
    ):
        talk = it.talk()
        long = asyncio.create_task(talk.ask("a long one"))
        await until(lambda: worker.generated)
        unwanted = asyncio.create_task(talk.send("never mind", correlation_id=b"mine"))
        await until(lambda: waiting_turns(worker) == 1)
        await client.send(it.at.settings.kafka.cancels_topic, b"", [("kafka_correlationId", b"mine")])
        error = (await unwanted).error
        assert error is not None
        assert error.code == "cancelled"
        assert not long.done()
        await long
        await talk.says("go on")


async def test_a_request_sent_again_is_no_second_turn(scene):
    """The same reply comes again, without another generation, and the question stands in the history once."""
    async with scene(partitions=1) as it, it.worker() as worker:
        talk = it.talk()
        await talk.says("first")
        replies = [await talk.send("second", correlation_id=b"the same") for _ in range(2)]
        assert replies[0].value == replies[1].value
        assert len(worker.generated) == 2
        talk.hears("second", replies[0])
        await talk.says("third")


async def test_a_session_that_is_not_the_records_key_is_refused(scene, client, chat_body):
    """The error names the header and says what the key has to be."""
    async with scene(partitions=1) as it, it.worker():
        headers = [("pelton-session", b"chat-1"), ("kafka_correlationId", b"c")]
        await client.send(it.at.requests, chat_body(), headers)
        (reply,) = await client.read(it.at.replies, 1)
    error = orjson.loads(reply.value)["error"]
    assert (error["code"], error["param"]) == ("invalid_header", "pelton-session")
    assert "'chat-1'" in error["message"]


async def test_without_a_redis_sessions_are_refused_and_others_served(scene):
    """No answer without its history: a worker that keeps none says so at once."""
    async with scene(partitions=1, cache={}) as it, it.worker():
        assert await it.talk().fails("hello") == "unsupported_header"
        assert await it.client.complete([{"role": "user", "content": "hello"}])


async def test_a_reply_too_large_for_its_topic_leaves_no_turn(scene, kafka_bootstrap):
    """Its sender got an error, so the conversation goes on as if it had not been asked."""
    async with (
        scene(
            partitions=1, simulated={"min_output_tokens": 300, "mean_output_tokens": 300, "max_output_tokens": 300}
        ) as it,
        it.worker(),
    ):
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
        await admin.start()
        limit = ConfigResource(ConfigResourceType.TOPIC, it.at.replies, configs={"max.message.bytes": "9000"})
        await admin.alter_configs([limit])
        await admin.close()
        talk = it.talk()
        await talk.says("first")
        assert await talk.fails("with all alternatives", logprobs=True, top_logprobs=0) == "reply_too_large"
        await talk.says("second")
