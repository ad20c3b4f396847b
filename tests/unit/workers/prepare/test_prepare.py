"""Preparing a request, sizing it up, and the reply records that come out."""

import time
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.errors import ContextLengthExceeded, DeadlineExceeded, RequestTooLarge
from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.settings.cache import CacheSettings
from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.headers import ReplyPolicy, read_envelope
from pelton.pipeline.wire.records import RequestRecord, Source
from pelton.workers.delivery.completion_body import answer_body
from pelton.workers.delivery.reply_records import SAFE_BYTES, WorkerIdentity, answer_record, error_record, reply_value
from pelton.workers.engine.api import Completion, FinishReason, TokenLogprob
from pelton.workers.engine.simulated.text import encode_text
from pelton.workers.prepare.cache_keys import CacheKeyBuilder
from pelton.workers.prepare.limits import RequestLimits, allowed_new_tokens
from pelton.workers.prepare.message_parsing import cut_at_stop
from pelton.workers.prepare.prepare import make_drafts, make_jobs
from pelton.workers.prepare.simulated_codec import SimulatedCodec
from pelton.workers.requests import Delivery, Failed, Generated, PreparedRequest

LIMITS = RequestLimits(
    "tiny", context_length=100, budget_tokens=80, default_max_new_tokens=50, max_request_bytes=10_000
)
SIGNATURE = WorkerIdentity("tiny", "worker-1")
KEYRING = CacheKeyBuilder.of(CacheSettings(), "tiny", b"fingerprint", LIMITS)


def delivery(body: object, headers: tuple[tuple[str, bytes], ...] = ()) -> Delivery:
    source = Source("requests", 3, 14)
    record = RequestRecord(source, None, orjson.dumps(body), headers, int(time.time() * 1000), 0)
    return Delivery(record, read_envelope(source, headers, ReplyPolicy("replies")), OffsetTracker(), 0.0, 0.25)


def request(**fields: object) -> dict[str, object]:
    return {"model": "default", "messages": [{"role": "user", "content": "hi"}], **fields}


def prepared(*deliveries: Delivery) -> tuple[list[PreparedRequest], list[Failed]]:
    drafts, malformed = make_drafts(deliveries, SimulatedCodec(), LIMITS, KEYRING)
    jobs, too_large = make_jobs(drafts, SimulatedCodec(), LIMITS)
    return jobs, [*malformed, *too_large]


@given(st.integers(0, 200), st.none() | st.integers(1, 200))
def test_what_is_allowed_always_fits(prompt_tokens, asked):
    """What is allowed fits the context and the budget; what was asked for is never changed."""
    try:
        allowed = allowed_new_tokens(prompt_tokens, asked, LIMITS)
    except ContextLengthExceeded:
        assert prompt_tokens + (asked or 1) > LIMITS.context_length
    except RequestTooLarge:
        assert prompt_tokens + (asked or 1) > LIMITS.budget_tokens
    else:
        assert allowed >= 1
        assert prompt_tokens + allowed <= LIMITS.budget_tokens
        assert allowed == asked or (asked is None and allowed <= LIMITS.default_max_new_tokens)


def test_one_bad_request_does_not_keep_the_others_of_its_batch():
    """Each delivery of a polled batch ends as a job or as its own refusal, and prompts stay with their requests."""
    deliveries = [delivery(request(user=str(index)) if index % 2 else {"model": "tiny"}) for index in range(6)]
    jobs, refused = prepared(*deliveries)
    assert [job.delivery for job in jobs] == deliveries[1::2]
    assert [refusal.delivery for refusal in refused] == deliveries[0::2]
    assert {refusal.error.code for refusal in refused} == {"missing_required_parameter"}
    assert all(job.prompt == encode_text("user: hi") for job in jobs)


def answered(completion: Completion, **fields: object) -> Generated:
    job = PreparedRequest(delivery(request(**fields)), ChatRequest.model_validate(request(**fields)), [1, 2, 3], 50)
    return Generated(job, completion, 0.01, time.monotonic())


def test_text_ends_before_the_first_stop_string():
    """A token may carry a stop string and more: the reply's text ends where the earliest one begins."""
    assert cut_at_stop("one END two STOP", ("STOP", "END")) == "one "
    assert cut_at_stop("nothing", ("STOP",)) == "nothing"
    completion = Completion(0, tuple(encode_text("yes.\nNo")), FinishReason.STOP, 0.0, 0.0)
    body = orjson.loads(answer_body(answered(completion, stop="\n"), SimulatedCodec()))
    assert body["choices"][0]["message"]["content"] == "yes."


def test_logprobs_carry_text_and_bytes():
    """Each token's text, bytes and alternatives are there; a token that is half a character has its bytes, escaped."""
    half = [0x1_00 | 0xC3]  # the first byte of a two-byte character
    logprobs = tuple(TokenLogprob(token, -0.5, ((token, -0.5), (half[0], -1.0))) for token in encode_text("word"))
    completion = Completion(0, tuple(encode_text("word")), FinishReason.LENGTH, 0.0, 0.0, logprobs)
    body = orjson.loads(answer_body(answered(completion, logprobs=True), SimulatedCodec()))
    (token,) = body["choices"][0]["logprobs"]["content"]
    assert (token["token"], token["bytes"]) == ("word", list(b"word"))
    assert [top["bytes"] for top in token["top_logprobs"]] == [list(b"word"), [0xC3]]
    assert [top["token"] for top in token["top_logprobs"]] == ["word", r"\xc3"]


def test_a_huge_reply_brings_a_small_one_with_it():
    """A reply that its topic may refuse has an error reply to the same address as its fallback."""
    completion = Completion(0, tuple(encode_text("word" * SAFE_BYTES)), FinishReason.STOP, 0.0, 0.0)
    ending = answered(completion)
    record = answer_record(ending, reply_value(answer_body(ending, SimulatedCodec()), "tiny"), SIGNATURE)
    assert record.fallback is not None
    assert orjson.loads(record.fallback.value or b"")["error"]["code"] == "reply_too_large"
    assert record.fallback.headers[0] == record.headers[0]
    assert len(record.fallback.value or b"") < 1_000


def test_an_error_reply_is_addressed_like_an_answer():
    """Correlation id, address and source are the request's, whether it was answered or refused."""
    headers = (("kafka_correlationId", b"\x00\xff"), ("kafka_replyPartition", (2).to_bytes(4, "big")))
    record = error_record(delivery(request(), headers), DeadlineExceeded("late."), SIGNATURE, attempt=1)
    assert (record.topic, record.partition, record.key) == ("replies", 2, b"\x00\xff")
    assert dict(record.headers)["pelton-source"] == b"requests-3-14"
    assert dict(record.headers)["pelton-queue-ms"] == b"250.0"
    assert orjson.loads(record.value or b"")["error"]["code"] == "deadline_exceeded"


def test_equal_prompts_are_tokenised_once():
    """A polled batch of copies costs one prompt's tokens."""
    encoded: list[str] = []

    class CountingCodec(SimulatedCodec):
        def encode(self, texts: list[str]) -> list[list[int]]:
            encoded.extend(texts)
            return super().encode(texts)

    drafts, _ = make_drafts([delivery(request()) for _ in range(5)], CountingCodec(), LIMITS, KEYRING)
    jobs, _ = make_jobs(drafts, CountingCodec(), LIMITS)
    assert encoded == ["user: hi"]
    assert [job.prompt for job in jobs] == [encode_text("user: hi")] * 5


@pytest.mark.parametrize("asked", [None, 40])
def test_what_is_shortened_may_generate_less_and_is_not_refused_for_it(asked: int | None) -> None:
    """Where the context has room for less than even that, and nothing was asked for, it gets what there is room for."""
    long = "x" * 4 * (LIMITS.most_tokens - 10)
    for text, allowed in [("hi", 16), *([(long, None)] if asked is None else [])]:
        body = request(messages=[{"role": "user", "content": text}], max_tokens=asked)
        drafts, _ = make_drafts([delivery(body)], SimulatedCodec(), LIMITS, KEYRING)
        jobs, refused = make_jobs([replace(drafts[0], shortened_to=16)], SimulatedCodec(), LIMITS)
        assert refused == []
        room = LIMITS.most_tokens - len(jobs[0].prompt)
        assert jobs[0].max_new_tokens == (allowed or room)
        assert jobs[0].shortened_to == 16


def test_a_reply_is_built_around_what_equal_requests_share():
    """The value is OpenAI's completion; each has its own id, and ends with the shared part as it is."""
    body = b'{"choices":[],"usage":{}}'
    first, second = (reply_value(body, "tiny") for _ in range(2))
    assert orjson.loads(first).keys() == {"id", "object", "created", "model", "choices", "usage"}
    assert orjson.loads(first)["id"] != orjson.loads(second)["id"]
    assert first.endswith(b'"choices":[],"usage":{}}')


@pytest.mark.parametrize("model", ["default", "tiny"])
def test_a_worker_answers_to_its_model_and_to_default(model):
    """Both names reach the served model."""
    jobs, refused = prepared(delivery(request(model=model)))
    assert (len(jobs), len(refused)) == (1, 0)
