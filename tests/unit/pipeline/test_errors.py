"""The errors a sender can see: their codes, shape, status and size."""

import re
from collections.abc import Iterator

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.shared import ErrorObject

from pelton.pipeline import errors
from pelton.pipeline.error_codes import status_of
from pelton.pipeline.errors import ExecutionError, PeltonError, RateLimited, RequestError


def leaves(kind: type[PeltonError]) -> Iterator[type[PeltonError]]:
    if not kind.__subclasses__():
        yield kind
    for child in kind.__subclasses__():
        yield from leaves(child)


LEAVES = sorted(leaves(PeltonError), key=lambda kind: kind.__name__)


def test_the_module_docstring_lists_exactly_the_errors_and_codes_there_are() -> None:
    """The tree at the top of the module is what people read: it must not drift from the classes."""
    told = dict(re.findall(r"─ (\w+) +([a-z0-9_]+)(?: |\n)", errors.__doc__ or ""))
    told = {name: code for name, code in told.items() if name not in ("RequestError", "ExecutionError")}
    assert told == {kind.__name__: kind.code for kind in LEAVES}


def test_codes_are_distinct() -> None:
    """A code tells a sender exactly what happened."""
    assert len({kind.code for kind in LEAVES}) == len(LEAVES)


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_body_is_openais_error_shape(kind: type[PeltonError]) -> None:
    """An OpenAI client parses every error reply, field for field."""
    body = orjson.loads(orjson.dumps(kind("What happened and what to do.", param="messages[0]").body()))
    assert body.keys() == {"error"}
    parsed = ErrorObject.model_validate(body["error"])
    assert not parsed.model_extra
    assert (parsed.code, parsed.param, parsed.type) == (kind.code, "messages[0]", kind.type)


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_blame_and_status_agree(kind: type[PeltonError]) -> None:
    """The sender's mistakes are 4xx `invalid_request_error`; what is ours is a `server_error`. Who asks too much gets a
    429, as from OpenAI.
    """
    if kind is RateLimited:
        assert (kind.type, kind.status) == ("rate_limit_error", 429)
    elif issubclass(kind, RequestError):
        assert kind.type == "invalid_request_error"
        assert 400 <= kind.status < 500
    else:
        assert issubclass(kind, ExecutionError)
        assert kind.type == "server_error"
    assert status_of(kind.code) == kind.status


def test_only_what_nobody_can_mend_stays_out_of_the_dead_letters() -> None:
    """A deadline that passed and a cancellation that was asked for are no faults; a session's turn, what was over its
    tenant's quota, and what came while too much waited, are sent again.
    """
    unlettered = {"cancelled", "deadline_exceeded", "session_unavailable", "rate_limited", "overloaded"}
    assert {kind.code for kind in LEAVES if not kind.dead_letter} == unlettered


@pytest.mark.parametrize("code", [None, "", "from_a_later_version"])
def test_unknown_code_is_a_server_error(code: str | None) -> None:
    """A client older than the worker still gets a status."""
    assert status_of(code) == 500


@settings(deadline=None)
@given(name=st.text(min_size=1), repeats=st.integers(1, 100_000))
def test_size_is_bounded_whatever_is_quoted(name: str, repeats: int) -> None:
    """Errors quote the sender; a megabyte of field name must not make a reply that no topic takes."""
    long = name * repeats
    error = errors.UnknownParameter(f"Unknown parameter {long!r}: leave it out.", param=long)
    assert len(error.message) <= errors.MAX_MESSAGE_CHARS
    assert len(error.param or "") <= errors.MAX_PARAM_CHARS
    assert error.message.startswith("Unknown parameter ")
    assert error.message.endswith(": leave it out.")
    assert str(error) == error.message
    assert len(orjson.dumps(error.body())) < 10_000


def test_what_fits_is_not_touched() -> None:
    """Only longer texts are cut: up to the limit the message is the one that was written."""
    for length in (errors.MAX_MESSAGE_CHARS - 1, errors.MAX_MESSAGE_CHARS):
        assert errors.EngineError("x" * length).message == "x" * length
    cut = errors.EngineError("x" * errors.MAX_MESSAGE_CHARS + "y").message
    assert len(cut) == errors.MAX_MESSAGE_CHARS
    assert "…" in cut
