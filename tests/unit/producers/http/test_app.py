"""What the routes answer before anything is asked of Kafka: as OpenAI's API does, and seen through OpenAI's client."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from pelton.pipeline.settings.serve import ServeSettings
from pelton.producers.http.app import Faces, make_app
from pelton.producers.http.batch_routes import Batches
from pelton.producers.http.chat import Chat
from pelton.producers.http.file_store import FileStore
from pelton.producers.http.files import Files
from pelton.producers.http.keys import ApiKeys

BASE = "http://server/v1"
ORDER = {"input_file_id": f"file-{'b' * 24}", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
BODY = {"model": "default", "messages": [{"role": "user", "content": "hello"}]}
NOTHING: Any = None
"""In place of Kafka, which no request of these tests may reach."""


def app_over(store: Any, *keys: str) -> ASGIApp:
    """Each of `keys`, where there are any, is a tenant's."""
    settings = ServeSettings()
    tenants = {hashlib.sha256(key.encode()).digest(): key for key in keys}
    faces = Faces(
        Chat(NOTHING, NOTHING, settings),
        Files(store, settings, lambda _tenant, _file: None),
        Batches(NOTHING, store),
        ApiKeys(tenants, required=bool(keys)),
        ("default",),
        1,
    )
    return make_app(faces)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """Makes a server without Kafka that asks for one of these keys."""
    with contextlib.ExitStack() as stack:
        yield lambda *keys: stack.enter_context(TestClient(app_over(FileStore(str(tmp_path)), *keys)))


@pytest.fixture
def client(make: Callable[..., TestClient]) -> openai.OpenAI:
    return openai.OpenAI(base_url=BASE, api_key="none", http_client=make(), max_retries=0)


def refused(client: openai.OpenAI, path: str, body: dict[str, Any]) -> tuple[int, str | None, str | None]:
    """Status, code and parameter of the error."""
    with pytest.raises(openai.APIStatusError) as raised:
        client.post(path, body=body, cast_to=object)
    assert raised.value.type == "invalid_request_error"
    return raised.value.status_code, raised.value.code, raised.value.param


def upload(client: openai.OpenAI, name: str = "in.jsonl", **fields: Any) -> Any:
    return client.files.create(file=(name, b"{}"), purpose="batch", **fields)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/models"), ("GET", "/v1/nothing"), ("PUT", "/v1/files"), ("GET", "/v1/files/x"), ("GET", "/healthz")],
)
def test_every_answer_has_an_id(make, method, path):
    """Also a refusal: it is what one asks the server's log for. No two have the same."""
    ids = [make().request(method, path).headers["x-request-id"] for _ in range(2)]
    assert len(set(ids)) == 2


def test_a_failure_has_an_id_too(caplog):
    """The log names it."""
    with TestClient(app_over(NOTHING), raise_server_exceptions=False) as asking:
        answer = asking.get("/v1/files")
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
    assert answer.headers["x-request-id"] in caplog.text


@pytest.mark.parametrize(("key", "code"), [("", "missing_api_key"), ("Bearer wrong", "invalid_api_key")])
def test_without_a_key(make, key, code):
    """OpenAI's type of error, and the header that HTTP asks for."""
    answer = make("right").get("/v1/models", headers={"authorization": key})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert (answer.json()["error"]["type"], answer.json()["error"]["code"]) == ("invalid_request_error", code)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/files", {"GET", "HEAD", "POST"}),
        ("GET", "/v1/chat/completions", {"POST"}),
        ("POST", "/v1/files/x", {"GET", "HEAD", "DELETE"}),
        ("OPTIONS", "/v1/batches", {"GET", "HEAD", "POST"}),
    ],
)
def test_a_method_that_a_path_does_not_have(make, method, path, allowed):
    """The header names all that it has."""
    answer = make().request(method, path)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == allowed
    assert answer.json()["error"]["code"] == "method_not_allowed"


def test_a_compressed_body_is_refused_by_name(make):
    """And not as JSON with a fault in it."""
    answer = make().post("/v1/chat/completions", content=b"\x1f\x8b", headers={"content-encoding": "gzip"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_encoding")


def test_models_with_a_slash_at_the_end(make):
    """As the other lists: not a model without a name."""
    assert make().get("/v1/models/").json() == make().get("/v1/models").json()


def test_what_is_not_served(make):
    """The message says what is; of an address without its version, what it lacks."""
    for path in ("/v1/embeddings", "/v1/responses", "/v1/chat/completions/chat/completions", "/metrics"):
        error = make().post(path).json()["error"]
        assert error["code"] == "unknown_url"
        assert "/v1/chat/completions, /v1/files" in error["message"]
    for path in ("/chat/completions", "/v1", "/"):
        answer = make().post(path)
        assert answer.status_code == 404
        assert "base_url" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("more", "code", "param"),
    [
        ({"stream": "yes"}, "invalid_value", "stream"),
        ({"stream": 1}, "invalid_value", "stream"),
        ({"stream_options": {"include_usage": True}}, "invalid_value", "stream_options"),
        ({"stream": True, "stream_options": True}, "invalid_value", "stream_options"),
        ({"stream": True, "stream_options": {"usage": True}}, "unknown_parameter", "stream_options.usage"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "invalid_value", "stream_options.include_usage"),
        (
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            "unsupported_parameter",
            "stream_options.include_obfuscation",
        ),
    ],
)
def test_what_is_asked_of_streaming(client, more, code, param):
    """The server's own fields are looked at as closely as the workers look at theirs."""
    assert refused(client, "/chat/completions", {**BODY, **more}) == (400, code, param)


def test_a_body_that_is_too_deep(make):
    """What can be read, but not written again, is the caller's fault, and no failure of the server."""
    body = b'{"messages": ' + b"[" * 500 + b"]" * 500 + b"}"
    answer = make().post("/v1/chat/completions", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")


def test_files_in_either_order(client):
    """The newest first, or last; all of them where no limit is set, as OpenAI's list has up to 10,000."""
    ids = [upload(client, f"{number}.jsonl").id for number in range(25)]
    pages = client.files.list()
    assert (len(pages.data), pages.has_more) == (25, False)
    newest = [file.id for file in pages.data]
    assert sorted(newest) == sorted(ids)
    assert [file.id for file in client.files.list(order="asc", limit=10)] == newest[::-1]


@pytest.mark.parametrize("query", [{"order": "up"}, {"limit": "9" * 5_000}, {"limit": 0}, {"after": "file-x"}])
def test_a_page_that_there_is_not(client, query):
    """The parameter is named, whatever it is."""
    with pytest.raises(openai.BadRequestError) as raised:
        client.files.list(**query)
    assert raised.value.param == next(iter(query))


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"expires_after": {"anchor": "created_at", "seconds": 3600}}, "unsupported_parameter", "expires_after"),
        ({"extra_body": {"colour": "blue"}}, "unknown_parameter", "colour"),
        ({"extra_body": {"purpose": "fine-tune"}}, "invalid_value", "purpose"),
    ],
)
def test_an_upload_that_asks_for_more(client, fields, code, param):
    """Nobody is left to believe that a file will be gone by itself."""
    with pytest.raises(openai.BadRequestError) as raised:
        upload(client, **fields)
    assert (raised.value.code, raised.value.param) == (code, param)


@pytest.mark.parametrize(
    ("more", "status", "code", "param"),
    [
        ({}, 404, "file_not_found", "input_file_id"),
        ({"input_file_id": None}, 400, "missing_required_parameter", "input_file_id"),
        ({"input_file_id": 5}, 400, "invalid_value", "input_file_id"),
        ({"endpoint": None}, 400, "missing_required_parameter", "endpoint"),
        ({"endpoint": "/v1/embeddings"}, 400, "invalid_value", "endpoint"),
        ({"completion_window": "1h"}, 400, "invalid_value", "completion_window"),
        ({"metadata": {"a": 5}}, 400, "invalid_value", "metadata"),
        ({"output_expires_after": {"seconds": 3600}}, 400, "unsupported_parameter", "output_expires_after"),
        ({"colour": 1}, 400, "unknown_parameter", "colour"),
    ],
    ids=str,
)
def test_a_batch_that_cannot_be_made(client, more, status, code, param):
    """The parameter is named as the caller has it."""
    assert refused(client, "/batches", {**ORDER, **more}) == (status, code, param)


def test_the_output_of_a_batch_is_no_input(client, tmp_path):
    """What was made for something else is refused at once, and not line by line."""
    store = FileStore(str(tmp_path))
    with (tmp_path / "output").open("w+b") as content:
        store.put("", ORDER["input_file_id"], content, filename="out.jsonl", purpose="batch_output")
    assert refused(client, "/batches", ORDER) == (400, "invalid_value", "input_file_id")
