"""Traces through a real Kafka: one whole for each request, whatever becomes of it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan

from pelton.producers.client import InferenceClient
from pelton.producers.replies import Reply
from tests.faulty.engine import Mark
from tests.integration.conftest import ForeignClient, Place, chat
from tests.integration.kept_spans import Kept

REQUEST = {"model": "default", "messages": [{"role": "user", "content": "hello"}], "temperature": 0}


async def ask(at: Place, kept: Kept, name: bytes, content: str = "hello", **more: Any) -> Reply:
    async with InferenceClient(at.settings.kafka, traces=kept.traces) as client:
        body = REQUEST | {"messages": [{"role": "user", "content": content}]}
        return await client.request(body, correlation_id=name, timeout_s=60, **more)


def below(child: ReadableSpan, parent: ReadableSpan) -> bool:
    return child.parent is not None and child.parent.span_id == parent.context.span_id


def linked(span: ReadableSpan) -> set[int]:
    return {link.context.span_id for link in span.links}


async def test_a_request_is_one_trace_from_sender_to_reply(place: Callable[..., Any], kept: Kept) -> None:
    """Each span is below the one that caused it, in its time, under the names of the conventions."""
    at = await place(simulated={"ttft_ms": 20, "itl_ms": 2})
    async with at.worker(kept.traces):
        await ask(at, kept, b"whole")
    spans = kept.of(b"whole")
    assert {name: len(found) for name, found in spans.items()} == {
        "send": 2, "process": 1, "wait": 1, "chat": 1, "receive": 1,
    }  # fmt: skip
    [process], [wait], [chat_], [receive] = spans["process"], spans["wait"], spans["chat"], spans["receive"]
    [sent] = [span for span in spans["send"] if span.name == f"send {at.requests}"]
    [replied] = [span for span in spans["send"] if span.name == f"send {at.replies}"]
    assert sent.parent is None
    assert below(process, sent)
    assert all(below(span, process) for span in (wait, chat_, replied))
    assert below(receive, replied)
    assert process.start_time <= chat_.start_time < chat_.end_time <= replied.start_time <= replied.end_time
    [first_token] = chat_.events
    assert first_token.timestamp - chat_.start_time >= 15e6
    assert chat_.start_time < first_token.timestamp < chat_.end_time
    assert (
        process.attributes["messaging.destination.partition.id"]
        == sent.attributes["messaging.destination.partition.id"]
    )
    assert process.attributes["messaging.kafka.offset"] == sent.attributes["messaging.kafka.offset"]
    assert process.attributes["pelton.cache"] == "miss"
    assert chat_.attributes["gen_ai.usage.output_tokens"] > 0
    [commit] = [span for span in kept.spans if span.name.startswith("commit")]
    assert commit.attributes["messaging.batch.message_count"] == 1
    assert linked(commit) == {replied.context.span_id}
    assert commit.context.trace_id != sent.context.trace_id
    assert not any(span.status.status_code is trace.StatusCode.ERROR for span in kept.spans)


async def test_a_trace_goes_on_where_the_program_is(place: Callable[..., Any], kept: Kept) -> None:
    """Below the caller's own span; a request that no trace came with begins one in the worker."""
    at = await place()
    tracer = kept.provider.get_tracer("the program")
    async with at.worker(kept.traces):
        with tracer.start_as_current_span("job") as job:
            reply = await ask(at, kept, b"inside")
        async with InferenceClient(at.settings.kafka) as plain:
            started = await plain.request(REQUEST, timeout_s=60)
    [sent] = [span for span in kept.of(b"inside")["send"] if span.name == f"send {at.requests}"]
    assert sent.parent.span_id == job.get_span_context().span_id
    assert reply.headers["traceparent"].split(b"-")[1] == f"{sent.context.trace_id:032x}".encode()
    assert len(started.headers["traceparent"]) == 55


async def test_an_answer_from_the_cache(place: Callable[..., Any], kept: Kept) -> None:
    """Nothing is computed in its trace, which is whole all the same."""
    at = await place()
    async with at.worker(kept.traces):
        await ask(at, kept, b"first")
        await ask(at, kept, b"again")
    assert "chat" in kept.of(b"first")
    spans = kept.of(b"again")
    assert set(spans) == {"send", "process", "receive"}
    assert spans["process"][0].attributes["pelton.cache"] == "hit-local"


async def test_a_joined_generation_is_linked(place: Callable[..., Any], kept: Kept) -> None:
    """Who waited for the answer to an equal request links to the trace in which that was computed."""
    at = await place(partitions=1, simulated={"ttft_ms": 200})
    async with at.worker(kept.traces):
        await asyncio.gather(*(ask(at, kept, name) for name in (b"one", b"two")))
    one, two = (kept.of(name) for name in (b"one", b"two"))
    led, joined = (one, two) if "chat" in one else (two, one)
    assert joined["process"][0].attributes["pelton.cache"] == "joined"
    [replied] = [span for span in led["send"] if span.name == f"send {at.replies}"]
    assert linked(joined["process"][0]) == {replied.context.span_id}
    assert "chat" not in joined


async def test_an_error_is_an_error(place: Callable[..., Any], kept: Kept) -> None:
    """Its code is on the span of the request; the reply was sent well."""
    at = await place()
    async with at.worker(kept.traces):
        reply = await ask(at, kept, b"late", deadline_ms=1_700_000_000_000)
    assert reply.error.code == "deadline_exceeded"
    [process] = kept.of(b"late")["process"]
    assert process.status.status_code is trace.StatusCode.ERROR
    assert process.attributes["error.type"] == "deadline_exceeded"
    assert "receive" in kept.of(b"late")


@pytest.mark.usefixtures("faulty_engine")
async def test_each_attempt_is_seen(place: Callable[..., Any], kept: Kept) -> None:
    """Attempts that failed in the engine are spans with an error, before the last."""
    at = await place(worker={"max_attempts": 3, "retry_backoff_ms": 1})
    async with at.worker(kept.traces):
        await ask(at, kept, b"failing", str(Mark.FAIL))
    spans = kept.of(b"failing")
    assert [span.attributes["error.type"] for span in spans["chat"]] == ["internal"] * 3
    assert spans["process"][0].attributes["pelton.attempt"] == 3
    assert spans["process"][0].attributes["error.type"] == "engine_error"


async def test_a_foreign_context_that_is_none_does_no_harm(
    place: Callable[..., Any], kept: Kept, client: ForeignClient
) -> None:
    """Whatever senders write there, the request is answered and its reply names a trace."""
    at = await place(partitions=1)
    odd = [b"", b"\xff\xfe", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01", b"x" * 5_000]
    async with at.worker(kept.traces):
        for value in odd:
            await client.send(at.requests, chat(), [("traceparent", value), ("tracestate", b"\x00,=,=" + value)])
        replies = await client.read(at.replies, len(odd))
    assert all(len(dict(reply.headers)["traceparent"]) == 55 for reply in replies)
