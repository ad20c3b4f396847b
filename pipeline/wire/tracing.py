"""W3C trace context (https://www.w3.org/TR/trace-context/), continued from request to reply."""

import re
import secrets

_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def continue_trace(traceparent: bytes) -> bytes | None:
    """The `traceparent` of a child span; None for a malformed one, which the standard says to ignore."""
    match = _TRACEPARENT.fullmatch(traceparent.decode("ascii", "replace"))
    if match is None or not int(match[2], 16) or not int(match[3], 16):
        return None
    if match[1] == "00" and match[5]:  # only later versions may have more fields
        return None
    return f"00-{match[2]}-{secrets.token_hex(8)}-{match[4]}".encode()
