"""The clients as a program may misuse them: each mistake has its error, and none a traceback into the library."""

from collections.abc import Awaitable, Callable

import pytest

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.client import InferenceClient
from pelton.producers.errors import BodyInvalid, ClientNotOpen
from pelton.producers.kafka.request_sender import _as_json

MESSAGES = [{"role": "user", "content": "hello"}]
Use = Callable[[InferenceClient], Awaitable[object]]


async def _first(client: InferenceClient) -> object:
    return await anext(client.submit_many([{"messages": MESSAGES}]))


@pytest.mark.parametrize(
    "use",
    [
        lambda client: client.complete(MESSAGES),
        lambda client: client.request({"messages": MESSAGES}),
        lambda client: client.send({"messages": MESSAGES}, correlation_id=b"1"),
        _first,
    ],
)
async def test_outside_of_async_with_it_says_how_it_is_used(use: Use) -> None:
    """At once, without a broker."""
    with pytest.raises(ClientNotOpen, match=r"async with InferenceClient\("):
        await use(InferenceClient(KafkaSettings()))


@pytest.mark.parametrize("content", ["\ud800", object(), b"bytes", 2**70])
def test_what_is_no_json_is_said(content: object) -> None:
    """A lone surrogate, an object, a number that no JSON of ours holds."""
    with pytest.raises(BodyInvalid, match="cannot be written as JSON"):
        _as_json({"messages": [{"role": "user", "content": content}]})
