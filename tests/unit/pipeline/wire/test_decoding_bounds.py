"""Bodies made to cost: each is refused, or read, in milliseconds and within some times its own size of memory."""

import time
import tracemalloc
from collections.abc import Callable

import orjson
import pytest

from pelton.pipeline.errors import RequestError
from pelton.pipeline.wire.chat import MAX_MESSAGES, MAX_METADATA, MAX_PARTS
from pelton.pipeline.wire.decoding import decode_request

MIB = 1 << 20
SECONDS = 1.5
"""Of this thread's time. 30 ms for most, half a second where the interpreter looks through hundreds of thousands of
parsed arrays for garbage; building an error for each message took 4 s."""
MEMORY = 100 * MIB
"""orjson makes 64 bytes of each `{}`; building an error for each message took 700 MiB."""


def many(item: bytes, frame: bytes = b'{"model": "default", "messages": [%b]}') -> bytes:
    """A body of a mebibyte: `item` as often as it goes into the frame."""
    count = (MIB - len(frame)) // (len(item) + 1)
    return frame.replace(b"%b", b",".join([item] * count))


def fields(frame: bytes, value: bytes = b"0") -> bytes:
    """The same with fields of different names."""
    names = (b'"f%d":%b' % (number, value) for number in range(MIB // (10 + len(value))))
    return frame.replace(b"%b", b",".join(names))


USER = b'{"role":"user","content":%b}'
IN_MESSAGE = b'{"model":"default","messages":[' + USER + b"]}"
SOUND = b'{"model":"default","messages":[{"role":"user","content":""}],%b}'
COSTLY: dict[str, Callable[[], bytes]] = {
    "empty messages": lambda: many(b"{}"),
    "messages that are numbers": lambda: many(b"1"),
    "messages that are nulls": lambda: many(b"null"),
    "messages that are arrays": lambda: many(b"[]"),
    "sound messages": lambda: many(b'{"role":"user","content":""}'),
    "messages with a wrong role": lambda: many(b'{"role":"x","content":""}'),
    "messages with unknown fields": lambda: many(b'{"role":"user","content":"","x":1}'),
    "empty parts": lambda: many(b"{}", IN_MESSAGE.replace(b"%b", b"[%b]")),
    "parts that are numbers": lambda: many(b"1", IN_MESSAGE.replace(b"%b", b"[%b]")),
    "sound parts": lambda: many(b'{"type":"text","text":""}', IN_MESSAGE.replace(b"%b", b"[%b]")),
    "messages of one part": lambda: many(b'{"role":"user","content":[{}]}'),
    "unknown parameters": lambda: fields(b'{"model":"default","messages":[],%b}'),
    "unknown fields of a message": lambda: fields(b'{"model":"default","messages":[{"role":"user",%b}]}'),
    "unknown fields of a part": lambda: fields(IN_MESSAGE.replace(b"%b", b'[{"type":"text",%b}]')),
    "metadata": lambda: fields(b'{"model":"default","messages":[],"metadata":{%b}}'),
    "sound metadata": lambda: fields(SOUND.replace(b"%b", b'"metadata":{%b}'), b'""'),
    "stop strings": lambda: many(b"1", SOUND.replace(b"%b", b'"stop":[%b]')),
    "nested arrays": lambda: b'{"model":"default","messages":' + b"[" * 1000 + b"]" * 1000 + b"}",
    "one long name": lambda: b'{"model":"default","messages":[],"%b":1}' % (b"\\n" * (MIB // 2)),
    "one long role": lambda: b'{"model":"default","messages":[{"role":"%b","content":""}]}' % (b"x" * MIB),
}  # fmt: skip


@pytest.mark.parametrize("name", COSTLY)
def test_a_costly_body_is_refused_for_little(name: str) -> None:
    """At the first error, whatever there are many of."""
    value = COSTLY[name]()
    began = time.thread_time()
    refuse(value)
    assert time.thread_time() - began < SECONDS
    tracemalloc.start()
    error = refuse(value)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MEMORY
    assert len(orjson.dumps(error.body())) < 3_000


def refuse(value: bytes) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decode_request(value, max_bytes=2 * MIB)
    return caught.value


def test_as_many_as_are_allowed_are_read() -> None:
    """The bounds themselves are within."""
    turn = {"role": "user", "content": [{"type": "text", "text": "a"}]}
    metadata = {str(number): "" for number in range(MAX_METADATA)}
    body = {"model": "default", "messages": [turn] * MAX_MESSAGES, "metadata": metadata}
    assert MAX_PARTS == MAX_MESSAGES
    assert len(decode_request(orjson.dumps(body), max_bytes=MIB).messages) == MAX_MESSAGES


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"messages": [{}] * (MAX_MESSAGES + 1)}, "messages", "4,097 messages, at most 4,096"),
        ({"messages": [{"content": [{}] * (MAX_PARTS + 1)}]}, "messages", "4,097 parts in all, at most 4,096"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata", "17 pairs, at most 16"),
        ({str(number): "" for number in range(65)}, None, "65 fields, at most 64"),
        ({"messages": [{str(number): "" for number in range(65)}]}, "messages[0]", "65 fields, at most 64"),
    ],
)
def test_a_refusal_names_the_count_and_the_bound(body: dict[str, object], param: str | None, said: str) -> None:
    """So that the sender knows what to make less of."""
    error = refuse(orjson.dumps(body))
    assert (error.code, error.param) == ("invalid_value", param)
    assert said in error.message
