"""Batch files: what is read, what is refused and under which name, and the lines that come out."""

import hashlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.producers.batch import file
from pelton.producers.batch.file import (
    LineFault,
    answered_line,
    custom_ids,
    error_code,
    is_answer,
    read_requests,
    refused_line,
    survey,
)
from pelton.producers.batch.text_form import HEAD_BYTES, text_form
from pelton.producers.errors import BatchError
from pelton.producers.replies import Reply

GOOD = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}}


def line(**changes):
    return orjson.dumps({name: value for name, value in {**GOOD, **changes}.items() if value is not ...})


@pytest.fixture
def written(tmp_path):
    def write(*lines):
        path = tmp_path / "in.jsonl"
        path.write_bytes(b"\n".join(lines))
        return path

    return write


def test_a_line_becomes_a_request(written):
    """The body is passed on as JSON, whatever it says: it is the worker's to judge."""
    body = {"model": "m", "messages": "nonsense", "unknown": [1.5, None, "ä"]}
    (request,) = read_requests(written(line(body=body)))
    assert (request.number, request.custom_id, request.fault) == (1, "a", None)
    assert orjson.loads(request.body) == body


@pytest.mark.parametrize(
    ("raw", "custom_id", "code"),
    [
        (b"{", None, "invalid_json_line"),
        (b"\xff\xfe", None, "invalid_json_line"),
        (b"[]", None, "invalid_json_line"),
        (line(body={"x": "HALF"}).replace(b"HALF", rb"\ud83d"), "a", "invalid_json_line"),
        (line(body={"x": "HALF"}).replace(b"HALF", b"\xe4"), "a", "invalid_json_line"),
        (line(body={"x": 7}).replace(b"7", b"NaN"), "a", "invalid_json_line"),
        (line(custom_id="HALF").replace(b"HALF", rb"\ud83d"), None, "invalid_json_line"),
        (line(custom_id=7, body={"x": 8}).replace(b"8", b"NaN"), None, "invalid_json_line"),
        (b'"text"', None, "invalid_json_line"),
        (line(custom_id=...), None, "missing_custom_id"),
        (line(custom_id=None), None, "missing_custom_id"),
        (line(custom_id=7), None, "invalid_custom_id"),
        (line(method="GET"), "a", "invalid_method"),
        (line(method=...), "a", "invalid_method"),
        (line(url="/v1/embeddings"), "a", "invalid_url"),
        (line(url=...), "a", "invalid_url"),
        (line(body=...), "a", "invalid_body"),
        (line(body="text"), "a", "invalid_body"),
        (line().replace(b'{"model":"m"}', b'{"deep":' * 400 + b"1" + b"}" * 400), "a", "invalid_body"),
    ],
)
def test_a_line_that_cannot_be_sent(raw, custom_id, code, written):
    """It is named with its number, its id where it has one, and does not disturb its neighbours."""
    before, refused, after = read_requests(written(line(custom_id="1"), raw, line(custom_id="3")))
    assert before.fault is None
    assert after.fault is None
    assert (refused.number, refused.custom_id, refused.fault.code) == (2, custom_id, code)
    assert refused.fault.message.startswith("Line 2 was not sent: ")


def test_of_equal_ids_the_first_counts(written):
    """Also when the first cannot be sent itself: its output line has the name."""
    requests = list(read_requests(written(line(), line(custom_id="b", url="?"), line(), line(custom_id="b"))))
    assert [request.fault and request.fault.code for request in requests] == [
        None,
        "invalid_url",
        "duplicate_custom_id",
        "duplicate_custom_id",
    ]


def test_blank_lines_and_what_editors_add(written):
    """A byte order mark, CRLF ends and blank lines are nobody's request; lines keep the numbers an editor shows."""
    path = written(b"\xef\xbb\xbf" + line(), b"", b"  \t", line(custom_id="b") + b"\r", b"")
    assert [(request.number, request.custom_id, request.fault) for request in read_requests(path)] == [
        (1, "a", None),
        (4, "b", None),
    ]
    assert (survey(path).lines, survey(path).requests) == (4, 2)


def test_a_line_without_end_is_not_read_whole(written, monkeypatch):
    """Beyond the limit a line is refused once, and the next one keeps its number."""
    monkeypatch.setattr(file, "MAX_LINE_BYTES", 100)
    path = written(line(), b"x" * 350, line(custom_id="b"), b"y" * 100)
    assert [(request.number, request.fault and request.fault.code) for request in read_requests(path)] == [
        (1, None),
        (2, "invalid_json_line"),
        (3, None),
        (4, "invalid_json_line"),
    ]
    assert (survey(path).lines, survey(path).requests) == (4, 4)


@given(content=st.binary(max_size=300).filter(lambda content: text_form(content[:HEAD_BYTES]) is None))
def test_any_file_is_read_to_its_end(content, tmp_path_factory):
    """Whatever the bytes: one entry for each line that is not blank, ascending numbers, and the survey agrees."""
    path = tmp_path_factory.mktemp("any") / "in.jsonl"
    path.write_bytes(content)
    requests = list(read_requests(path))
    lines = content.split(b"\n")
    assert [request.number for request in requests] == [n for n, raw in enumerate(lines, 1) if raw.strip()]
    surveyed = survey(path)
    assert (surveyed.sha256, surveyed.size) == (hashlib.sha256(content).hexdigest(), len(content))
    assert surveyed.requests == len(requests)
    assert surveyed.lines >= max((request.number for request in requests), default=0)


@given(
    lines=st.lists(st.sampled_from([line(), line(custom_id="b"), b"{", line(custom_id=7), line(url="?")]), min_size=1)
)
def test_the_ids_of_some_lines(lines, tmp_path_factory):
    """They are what reading the whole file tells of them."""
    path = tmp_path_factory.mktemp("some") / "in.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    every = {request.number: request.custom_id for request in read_requests(path)}
    odd = {number: custom_id for number, custom_id in every.items() if number % 2}
    assert custom_ids(path, lambda number: number % 2 == 1) == odd


def test_an_input_that_cannot_be_read(tmp_path):
    """Missing, or a folder: said with the path."""
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(BatchError, match=str(path)):
            survey(path)


def test_the_line_of_an_answer():
    """Status 200 and the reply's body as it came; the request's id is its place on the topic."""
    reply = Reply(b"c", b'{"id": "x", "choices": []}', {"pelton-source": b"t-0-1"})
    written, answered = answered_line("batch_req_1", "a", reply)
    assert answered
    assert orjson.loads(written) == {
        "id": "batch_req_1",
        "custom_id": "a",
        "response": {"status_code": 200, "request_id": "t-0-1", "body": {"id": "x", "choices": []}},
        "error": None,
    }
    assert written.endswith(b"\n")
    assert written.count(b"\n") == 1


def test_the_line_of_an_error_reply():
    """OpenAI's way: a request that was carried out has a response, with the error as its body; `error` is null."""
    body = {"error": {"message": "late", "type": "server_error", "param": None, "code": "deadline_exceeded"}}
    written, answered = answered_line("batch_req_1", "a", Reply(b"c", orjson.dumps(body)))
    assert not answered
    assert orjson.loads(written) == {
        "id": "batch_req_1",
        "custom_id": "a",
        "response": {"status_code": 504, "request_id": "c", "body": body},
        "error": None,
    }


@pytest.mark.parametrize("value", [b"?", b"3", b'{"error": 1}', b'{"deep":' * 400 + b"1" + b"}" * 400])
def test_the_line_of_a_reply_that_cannot_be_read(value):
    """It has no response to show: `error` says what came."""
    written, answered = answered_line("batch_req_1", "a", Reply(b"c", value))
    parsed = orjson.loads(written)
    assert not answered
    assert parsed["response"] is None
    assert parsed["error"]["code"] == "invalid_reply"


def test_read_back_a_line_is_what_it_was():
    """Answers are told from errors of either kind by what stands in the file."""
    answer, _ = answered_line("1", "a", Reply(b"c", b"{}"))
    error, _ = answered_line("1", "a", Reply(b"c", b'{"error": {"code": "cancelled"}}'))
    refused = refused_line("1", None, LineFault("invalid_url", "Line 1 was not sent."))
    assert [is_answer(orjson.loads(written)) for written in (answer, error, refused)] == [True, False, False]
    assert [error_code(orjson.loads(written)) for written in (error, refused)] == ["cancelled", "invalid_url"]
    nameless, _ = answered_line("1", "a", Reply(b"c", b'{"error": {"code": 7}}'))
    assert error_code(orjson.loads(nameless)) == "unknown"
