"""An error that passes says over HTTP when to come again."""

import orjson
import pytest

from pelton.pipeline.errors import DeadlineExceeded, EngineError, Overloaded, PeltonError, PoisonRecord
from pelton.producers.http.chat import _response
from pelton.producers.http.streaming import StreamOptions
from pelton.producers.replies import Reply

REFUSED = orjson.dumps(Overloaded("Too much waits.").body())


@pytest.mark.parametrize(
    ("given", "seconds", "milliseconds"),
    [(b"70000", "70", "70000"), (b"1001", "2", "1001"), (b"soon", None, None), (None, None, None)],
)
def test_when_to_come_again(given: bytes | None, seconds: str | None, milliseconds: str | None) -> None:
    """In whole seconds, rounded up, as HTTP has it, and exactly, as OpenAI's clients read it; only what is a number."""
    headers = {} if given is None else {"pelton-retry-after-ms": given}
    response = _response(Reply(b"id", REFUSED, headers), StreamOptions())
    assert response.status_code == 503
    assert (response.headers.get("retry-after"), response.headers.get("retry-after-ms")) == (seconds, milliseconds)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (PoisonRecord, "false"),
        (EngineError, "false"),
        (Overloaded, None),
        (DeadlineExceeded, None),
    ],
)
def test_whether_to_come_again(kind: type[PeltonError], said: str | None) -> None:
    """OpenAI's clients repeat after any error of the server. What workers have tried in vain they leave alone."""
    response = _response(Reply(b"id", orjson.dumps(kind("It failed.").body()), {}), StreamOptions())
    assert response.headers.get("x-should-retry") == said
