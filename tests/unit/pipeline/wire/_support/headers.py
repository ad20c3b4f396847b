"""Headers of a request in tests: as read, and what is wrong with them."""

import re

from pelton.pipeline.wire.headers import Envelope, ReplyPolicy, read_envelope
from pelton.pipeline.wire.records import Source

SOURCE = Source("inference.requests", 3, 41)
POLICY = ReplyPolicy("inference.replies", (re.compile(r"replies\..*"), re.compile("team-a|team-b")))


def read(*headers: tuple[str, bytes | None]) -> Envelope:
    return read_envelope(SOURCE, headers, POLICY)


def fault(*headers: tuple[str, bytes | None]) -> tuple[str, str | None]:
    """Code and named header of the fault there must be."""
    found = read(*headers).fault
    assert found is not None
    return found.code, found.param
