"""What is sent is what was asked; how long it is, is estimated and corrected."""

import orjson
import pytest
from pydantic import ValidationError

from pelton.pipeline.settings.engine import EngineSettings
from pelton.pipeline.settings.remote import RemoteSettings
from pelton.pipeline.wire.decoding import decode_request
from pelton.workers.remote.build import api_key
from pelton.workers.remote.codec import RemoteCodec
from pelton.workers.remote.tokens import TokenEstimate

ASKED = {
    "model": "default",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Grüß 👋🏽"}]},
        {"role": "assistant", "content": None,
         "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "content": "7", "tool_call_id": "1"},
    ],
    "temperature": 0,
    "max_completion_tokens": 7,
    "stop": ["\n\n"],
    "user": "u-1",
    "metadata": {"row": "17"},
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
    "top_k": 5,
}  # fmt: skip


def rendered(asked: dict[str, object]) -> dict[str, object]:
    request = decode_request(orjson.dumps(asked), max_bytes=10_000)
    return orjson.loads(RemoteCodec("theirs", TokenEstimate()).render(request.messages, request))


def test_the_body_is_the_senders_with_another_name_of_the_model() -> None:
    """Every field that was set, as it was set, and none besides."""
    assert rendered(ASKED) == ASKED | {"model": "theirs"}


def test_what_asks_for_nothing_is_not_passed_on() -> None:
    """Clients set them, and not every endpoint knows them."""
    assert "service_tier" not in rendered(ASKED | {"service_tier": "auto", "stream": False})


def test_estimates_follow_what_endpoints_count() -> None:
    """Four bytes a token at first; after some tens of answers what the endpoint says."""
    estimate = TokenEstimate()
    text = "x" * 3_000
    assert len(RemoteCodec("m", estimate).encode([text])[0]) == 750
    for _ in range(100):
        estimate.used(text, 1_500)
        estimate.used(text, 0)
    assert estimate.tokens(text) == pytest.approx(1_500, rel=0.02)
    assert estimate.tokens("") == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"endpoints": ["ftp://x/v1"]}, "each is a URL"),
        ({"endpoints": ["http://user:pw@x/v1"]}, "each is a URL"),
        ({"endpoints": ["http://x:99999/v1"]}, "each is a URL"),
        ({"endpoints": ["http://x/v1", "http://x/v1"]}, "named once"),
        ({"min_concurrency": 9, "max_concurrency": 8}, "min_concurrency"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], says: str) -> None:
    """Said before anything is sent, and without a password in it."""
    with pytest.raises(ValidationError, match=says) as told:
        RemoteSettings(**settings)
    assert "pw" not in str(told.value)


def test_the_engine_needs_an_endpoint() -> None:
    """The message names the setting."""
    with pytest.raises(ValidationError, match=r"remote\.endpoints"):
        EngineSettings(kind="openai")


def test_the_key_may_be_in_a_file(tmp_path) -> None:
    """As orchestrators mount secrets, with a line's end behind it; never both."""
    file = tmp_path / "key"
    file.write_text("sk-7\n")
    assert api_key(RemoteSettings(api_key_file=file)) == "sk-7"
    assert api_key(RemoteSettings(api_key="sk-8")) == "sk-8"
    with pytest.raises(ValidationError, match="leave one out"):
        RemoteSettings(api_key="sk-8", api_key_file=file)


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({"max_completion_tokens": 300}, {"max_completion_tokens": 16}),
        ({"max_tokens": 300}, {"max_tokens": 16}),
        ({"max_tokens": 300, "max_completion_tokens": 300}, {"max_tokens": 16, "max_completion_tokens": 16}),
        ({}, {"max_completion_tokens": 16}),
        ({"max_tokens": None}, {"max_tokens": None, "max_completion_tokens": 16}),
    ],
)
def test_what_is_shortened_is_shortened_at_the_endpoint(asked: dict[str, object], sent: dict[str, object]) -> None:
    """Under the sender's own name of the limit; nothing else of the body is changed."""
    whole = {"model": "theirs", "messages": [], "temperature": 0}
    codec = RemoteCodec("theirs", TokenEstimate())
    assert orjson.loads(codec.shortened(orjson.dumps(whole | asked).decode(), 16)) == whole | sent


def test_who_asks_makes_no_difference_to_the_answer() -> None:
    """Labels are sent and are no part of what equal requests have in common; all else is, words in a text too."""
    codec = RemoteCodec("theirs", TokenEstimate())

    def identity(**changes: object) -> str:
        request = decode_request(orjson.dumps({**ASKED, **changes}), max_bytes=10_000)
        return codec.identity(codec.render(request.messages, request))

    assert identity() == identity(user="u-2", metadata={"row": "18"}, safety_identifier="s", prompt_cache_key="k")
    assert identity(user=None, metadata=None) == identity()
    assert identity() != identity(top_k=6)
    quoted = [{"role": "user", "content": '"user": 1'}]
    assert identity(messages=quoted) != identity(messages=[{"role": "user", "content": '"user": 2'}])
