"""What an endpoint says, sorted: an answer, the request's fault, or something that passes."""

import time
from email.utils import formatdate

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.error_codes import request_error
from pelton.pipeline.wire.chat import ChatCompletion
from pelton.workers.remote.answer import written_answer
from pelton.workers.remote.verdict import LONGEST_PAUSE_S, Fate, judge, retry_after_s

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def completion(**message: object) -> dict[str, object]:
    told = {"role": "assistant", "content": "yes", **message}
    return {"id": "theirs", "choices": [{"index": 0, "message": told, "finish_reason": "stop"}], "usage": USAGE}


@pytest.mark.parametrize(
    ("statuses", "fate"),
    [
        ((400, 409, 413, 415, 418, 422), Fate.REFUSED),
        ((408, 425, 429, 503, 529), Fate.BUSY),
        ((401, 403, 404, 405, 407), Fate.FAILED),
        ((204, 301, 500, 501, 502, 504, 520), Fate.FAILED),
    ],
)
def test_statuses(statuses: tuple[int, ...], fate: Fate) -> None:
    """Only what another attempt cannot mend is the request's fault; a wrong key or address is nobody's who asks."""
    assert {judge(status, {}, b"").fate for status in statuses} == {fate}


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        ({"code": "content_filter"}, Fate.REFUSED),
        ({"type": "moderation_blocked"}, Fate.REFUSED),
        ({"code": 403, "metadata": {"reasons": ["violence"], "flagged_input": "x"}}, Fate.REFUSED),
        ({"code": "insufficient_permissions", "metadata": {"provider": "x"}}, Fate.FAILED),
        ({"message": "content_policy", "metadata": 7}, Fate.FAILED),
    ],
)
def test_a_moderation_is_the_requests_fault(error: dict[str, object], fate: Fate) -> None:
    """Asked again, it says the same; a key without permission is for an operator to mend."""
    assert judge(403, {}, orjson.dumps({"error": error})).fate is fate
    assert judge(401, {}, orjson.dumps({"error": error})).fate is Fate.FAILED


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (b'{"error":{"message":"Too long","code":"context_length_exceeded","param":"messages"}}',
         "Too long (code context_length_exceeded).", "context_length_exceeded"),
        (b'{"object":"error","message":"No such thing.","type":"BadRequestError","code":400}', "No such thing.", None),
        (b'{"detail":[{"loc":["body"],"msg":"bad"}]}', '[{"loc":["body"],"msg":"bad"}].', None),
        (b'{"error":"plain"}', "plain.", None),
        (b"<html>\n bad \x1b[31m</html>", "<html> bad \\x1b[31m</html>.", None),
        (b"", "nothing more.", None),
        (b"[]", "[].", None),
    ],
)  # fmt: skip
def test_the_endpoints_words(body: bytes, message: str, code: str | None) -> None:
    """In whichever shape it puts them, on one line, with its code."""
    verdict = judge(422, {}, body)
    assert verdict.message == f"The endpoint answers with status 422: {message}"
    assert verdict.code == code


def test_codes_of_ours_keep_their_meaning_and_others_are_refusals() -> None:
    """A reply's code is one that the contract knows."""
    assert request_error("context_length_exceeded").code == "context_length_exceeded"
    assert request_error("string_above_max_length").code == "endpoint_refused"
    assert request_error(None).code == "endpoint_refused"
    assert request_error("internal_error").code == "endpoint_refused"
    assert judge(413, {}, b"").code == "request_too_large"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"Retry-After-Ms": "250", "Retry-After": "9"}, 0.25),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "1e9"}, LONGEST_PAUSE_S),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """In seconds, or milliseconds as some clouds say it; what is no time says nothing."""
    assert retry_after_s(headers) == seconds


def test_retry_after_as_a_date() -> None:
    """HTTP allows both."""
    wait_s = retry_after_s({"Retry-After": formatdate(time.time() + 30, usegmt=True)})
    assert wait_s is not None
    assert 28 < wait_s <= 30


def test_an_answer_keeps_what_the_endpoint_adds() -> None:
    """Usage, reasoning and fields of its own; null in usage stands for nothing."""
    given_body = completion(reasoning_content="hm", annotations=[]) | {"usage": USAGE | {"prompt_tokens_details": None}}
    answer = written_answer(orjson.dumps(given_body))
    told = orjson.loads(answer.body)
    assert set(told) == {"choices", "usage"}
    assert told["choices"][0]["message"]["annotations"] == []
    assert (answer.prompt_tokens, answer.generated_tokens) == (3, 4)
    assert ChatCompletion(id="1", created=1, model="m", **told).choices[0].message.reasoning_content == "hm"


@pytest.mark.parametrize("message", [{"content": None}, {"content": None, "tool_calls": []}, {"refusal": "No."}])
def test_an_answer_of_nothing_is_an_empty_text(message: dict[str, object]) -> None:
    """Histories of sessions and clients read a text."""
    told = orjson.loads(written_answer(orjson.dumps(completion(**message))).body)["choices"][0]["message"]
    assert isinstance(told["content"], str)
    assert "tool_calls" not in told


def test_calls_of_tools_stay_calls() -> None:
    """With null for content."""
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    told = orjson.loads(written_answer(orjson.dumps(completion(content=None, tool_calls=calls))).body)
    assert told["choices"][0]["message"] == {"role": "assistant", "content": None, "tool_calls": calls}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["choices", "usage", "message", "content", "index", "finish_reason", "tool_calls", "prompt_tokens", "error"]
    ), inner, max_size=4),
)  # fmt: skip


@given(JSON, st.binary(max_size=20), st.sampled_from([200, 200, 400, 429, 500]) | st.integers(100, 599))
def test_no_body_breaks_the_sorting(value: object, raw: bytes, status: int) -> None:
    """Garbage is an attempt that failed, never an error of the worker's."""
    for body in (raw, orjson.dumps(value), orjson.dumps({"choices": [value], "usage": value})):
        verdict = judge(status, {"retry-after": str(value)}, body)
        assert verdict.fate is Fate.ANSWERED or verdict.message
