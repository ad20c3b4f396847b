"""W3C trace context: what is continued, what is ignored."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.pipeline.wire.tracing import continue_trace

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
CHILD = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@pytest.mark.parametrize("flags", ["00", "01"])
def test_child_keeps_trace_and_flags_and_has_its_own_span(flags: str) -> None:
    """The reply's span belongs to the sender's trace, is sampled as it was, and is a new one."""
    child = continue_trace(f"00-{TRACE}-{SPAN}-{flags}".encode())
    assert child is not None
    version, trace, span, child_flags = child.decode().split("-")
    assert (version, trace, child_flags) == ("00", TRACE, flags)
    assert span != SPAN
    assert re.fullmatch("[0-9a-f]{16}", span)


def test_two_children_of_one_span_differ() -> None:
    """A retried request is another span."""
    parent = f"00-{TRACE}-{SPAN}-01".encode()
    assert continue_trace(parent) != continue_trace(parent)


@pytest.mark.parametrize("suffix", ["", "-what-the-future-will-be-like"])
def test_later_version_is_read_as_far_as_it_is_known(suffix: str) -> None:
    """A version of the future may have further fields; the ones known today are used."""
    child = continue_trace(f"cc-{TRACE}-{SPAN}-01{suffix}".encode())
    assert child is not None
    assert child.startswith(f"00-{TRACE}-".encode())


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-001",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-more-than-version-00-has",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.what",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-0x",
    ],
)
def test_malformed_is_ignored(traceparent: str) -> None:
    """The standard says to ignore a malformed header; it must not fail the request."""
    assert continue_trace(traceparent.encode()) is None


@settings(deadline=None)
@given(st.binary(max_size=80) | st.from_regex(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"))
def test_any_bytes_give_a_child_or_nothing(traceparent: bytes) -> None:
    """Senders may write anything: the result is a well-formed version 00 header, or None, never an exception."""
    child = continue_trace(traceparent)
    assert child is None or CHILD.fullmatch(child)
