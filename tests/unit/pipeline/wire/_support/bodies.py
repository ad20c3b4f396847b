"""Request bodies in tests, decoded, and what they are refused with."""

from typing import Any

import orjson
import pytest

from pelton.pipeline.errors import RequestError
from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.decoding import decode_request

MAX_BYTES = 1_000_000
TURNS: list[Any] = [{"role": "user", "content": "How much?"}]
BODY: dict[str, Any] = {"model": "default", "messages": TURNS}


def decode(body: Any) -> ChatRequest:
    return decode_request(orjson.dumps(body), max_bytes=MAX_BYTES)


def refusal(**fields: Any) -> RequestError:
    """What `BODY` with these fields is refused with."""
    with pytest.raises(RequestError) as caught:
        decode(BODY | fields)
    return caught.value


def said(turn: Any) -> RequestError:
    """What `TURNS` with this one behind them are refused with."""
    return refusal(messages=[*TURNS, turn])
