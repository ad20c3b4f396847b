"""A worker in front of an endpoint, over a real broker: the contract is the same, and so are its guarantees."""

import asyncio
import uuid
from typing import Any

import orjson
import psutil
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from openai.types.chat import ChatCompletion

from benchmarks.support.common import Measurement, publish
from benchmarks.support.mock_endpoint import Behaviour, MockEndpoint
from pelton.producers.client import InferenceClient
from pelton.workers.kafka.topics import ensure_topics

LIMIT_S = 200


def through(*endpoints: MockEndpoint, **remote: Any) -> dict[str, Any]:
    """The engine's settings."""
    return {"kind": "openai", "remote": {"endpoints": [each.url for each in endpoints], **remote}}


async def test_a_reply_is_the_endpoints_answer_under_our_name(place, client, chat_body):
    """Choices and usage are the endpoint's; id, model and headers are as of any worker. An equal one asks nobody."""
    async with MockEndpoint().serving() as endpoint:
        at = await place(engine=through(endpoint, model="theirs"), model={"served_name": "ours"})
        async with at.worker():
            body = chat_body("What is a 10-K?", temperature=0, top_k=3)
            await client.send(at.requests, body, [("kafka_correlationId", b"1")])
            (first,) = await client.read(at.replies, 1)
            await client.send(at.requests, body, [("kafka_correlationId", b"2")])
            *_, second = sorted(await client.read(at.replies, 2), key=lambda reply: reply.timestamp)
    completion = ChatCompletion.model_validate_json(first.value)
    assert completion.choices[0].message.content == "echo: What is a 10-K?"
    assert (completion.model, completion.id.startswith("chatcmpl-theirs")) == ("ours", False)
    assert completion.usage.prompt_tokens > 0
    assert dict(first.headers)["pelton-cache"] == b"miss"
    assert dict(second.headers)["pelton-cache"] == b"hit-local"
    assert endpoint.calls == [orjson.loads(body) | {"model": "theirs"}]


async def test_errors_are_sorted_and_dead_lettered(place, client, chat_body):
    """The request's own fault at once, in the endpoint's words; what keeps failing after as many attempts as ever."""

    def behave(_number: int, body: dict[str, Any]) -> Behaviour:
        match body["messages"][0]["content"]:
            case "too long":
                return Behaviour(status=400, code="context_length_exceeded")
            case "odd":
                return Behaviour(status=422, code="odd_thing")
            case "cursed":
                return Behaviour(broken_off=True)
        return Behaviour()

    async with MockEndpoint(behave).serving() as endpoint:
        at = await place(engine=through(endpoint), worker={"max_attempts": 3, "retry_backoff_ms": 10})
        async with at.worker():
            for text in ("too long", "odd", "cursed", "fine"):
                await client.send(at.requests, chat_body(text), [("kafka_correlationId", text.encode())])
            replies = await client.read(at.replies, 4)
            letters = await client.read(at.dead_letters, 3)
    told = {dict(reply.headers)["kafka_correlationId"].decode(): orjson.loads(reply.value) for reply in replies}
    assert told["fine"]["choices"][0]["message"]["content"] == "echo: fine"
    assert {text: reply["error"]["code"] for text, reply in told.items() if "error" in reply} == {
        "too long": "context_length_exceeded", "odd": "endpoint_refused", "cursed": "engine_error",
    }  # fmt: skip
    assert "status 422: As the script says (code odd_thing)" in told["odd"]["error"]["message"]
    assert len(letters) == 3
    assert sum(call["messages"][0]["content"] == "cursed" for call in endpoint.calls) == 3


async def test_a_cancel_on_the_topic_hangs_up(place, client, chat_body):
    """The endpoint need not go on with what nobody wants."""
    async with MockEndpoint(lambda *_: Behaviour(hangs=True)).serving() as endpoint:
        at = await place(engine=through(endpoint))
        async with at.worker(), asyncio.timeout(LIMIT_S):
            await client.send(at.requests, chat_body("wait"), [("kafka_correlationId", b"1")])
            while not endpoint.running:  # noqa: ASYNC110  # the endpoint says it to nobody
                await asyncio.sleep(0.01)
            await client.send(at.settings.kafka.cancels_topic, b"", [("kafka_correlationId", b"1")])
            (reply,) = await client.read(at.replies, 1)
            while not endpoint.hung_up:  # noqa: ASYNC110  # likewise
                await asyncio.sleep(0.01)
    assert orjson.loads(reply.value)["error"]["code"] == "cancelled"


async def test_a_session_sends_the_endpoint_all_that_was_said(place, redis_url):
    """The history is Pelton's; the endpoint remembers nothing."""
    async with MockEndpoint().serving() as endpoint:
        at = await place(partitions=1, engine=through(endpoint), cache={"redis_url": redis_url})
        session = uuid.uuid4().hex
        async with at.worker(), InferenceClient(at.settings.kafka) as asking:
            for text in ("one", "two"):
                await asking.complete([{"role": "user", "content": text}], session=session)
    assert [message["content"] for message in endpoint.calls[-1]["messages"]] == ["one", "echo: one", "two"]


async def test_partial_text_of_an_endpoint_goes_to_the_stream_topic(place, client, chat_body):
    """Its pieces joined are the committed reply's text; without the header there are none."""
    topic = f"live-{uuid.uuid4().hex[:8]}"
    async with MockEndpoint(lambda *_: Behaviour(piece_s=0.02)).serving() as endpoint:
        at = await place(engine=through(endpoint), kafka={"stream_topic": topic})
        question = "What is a 10-K, and who must file one? " * 3
        async with at.worker():
            await client.send(at.requests, chat_body("quiet"), [("kafka_correlationId", b"1")])
            await client.send(
                at.requests, chat_body(question), [("kafka_correlationId", b"2"), ("pelton-stream", b"true")]
            )
            replies = await client.read(at.replies, 2)
            told = {dict(each.headers)["kafka_correlationId"]: orjson.loads(each.value) for each in replies}
            committed = told[b"2"]["choices"][0]["message"]["content"]
            async with asyncio.timeout(LIMIT_S):
                while _joined(pieces := await _pieces(client, topic)) != committed:
                    assert committed.startswith(_joined(pieces))
    assert committed == f"echo: {question}"
    assert len(pieces) > 3
    assert [piece["at"] for piece in pieces][:2] == [0, len(pieces[0]["content"])]


async def test_a_worker_killed_in_between_loses_and_repeats_nothing(kafka_bootstrap, client):
    """Twice, with requests under way: each is answered once, with the answer to its own question."""
    count = 400
    this = Measurement.new(kafka_bootstrap, f"remote-{uuid.uuid4().hex[:8]}")
    await ensure_topics(this.kafka)
    async with MockEndpoint(lambda *_: Behaviour(latency_s=0.05)).serving() as endpoint, this.reader() as reader:
        settings = {
            "PELTON_ENGINE__KIND": "openai",
            "PELTON_ENGINE__REMOTE__ENDPOINTS": orjson.dumps([endpoint.url]).decode(),
            "PELTON_ENGINE__REMOTE__MAX_CONCURRENCY": "16",
        }
        async with this.worker(**settings) as (parent, _), asyncio.timeout(LIMIT_S):
            await publish(this.kafka, range(count))
            seen: list[ConsumerRecord] = []
            for until in (60, 180):
                await _read_until(reader, seen, until)
                (worker,) = psutil.Process(parent.pid).children()
                worker.kill()
            await _read_until(reader, seen, count)
            replies = await client.read_all(this.kafka.reply_topic)
    answered = [dict(reply.headers)["kafka_correlationId"].decode() for reply in replies]
    assert sorted(map(int, answered)) == list(range(count))
    contents = [orjson.loads(reply.value)["choices"][0]["message"]["content"] for reply in replies]
    assert all(text.startswith(f"echo: {number}: ") for number, text in zip(answered, contents, strict=True))


async def _pieces(client: Any, topic: str) -> list[dict[str, Any]]:
    return [orjson.loads(piece.value) for piece in await client.read_all(topic)]


def _joined(pieces: list[dict[str, Any]]) -> str:
    return "".join(piece["content"] for piece in pieces)


async def _read_until(reader: AIOKafkaConsumer, seen: list[ConsumerRecord], until: int) -> None:
    """Read on until there are so many."""
    while len(seen) < until:
        for records in (await reader.getmany(timeout_ms=200)).values():
            seen += records
