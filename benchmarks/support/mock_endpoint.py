"""An endpoint that speaks as much of OpenAI's API as a client needs, keeps time and misbehaves on demand.

    python -m benchmarks.support.mock_endpoint [--port P] [--latency-ms N] [--slots N]

Plain asyncio, so that it costs little beside what is measured with it. Its answer repeats the last message, so that
whoever reads it can tell that it belongs to the request.
"""

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

BYTES_PER_TOKEN = 4
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 429: "Too Many Requests", 500: "Error", 503: "Busy"}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What becomes of one call.

    `status` other than 200 comes with an error body; `broken_off` closes the connection in the middle of the answer,
    `hangs` never answers, `body` is sent in place of an answer. A streamed answer takes `piece_s` for every few bytes.
    """

    latency_s: float = 0.0
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    broken_off: bool = False
    hangs: bool = False
    body: bytes | None = None
    code: str | None = None
    piece_s: float = 0.0


@dataclass(slots=True)
class MockEndpoint:
    """One server on a free port of this machine, or on `port`. `calls` are the bodies it was sent, in order.

    Of more calls than it has `slots` the others wait for one.
    """

    behave: Callable[[int, dict[str, Any]], Behaviour] = lambda _number, _body: Behaviour()
    port: int = 0
    keeps_calls: bool = True
    slots: int = 1_000_000
    calls: list[dict[str, Any]] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)
    count: int = 0
    running: int = 0
    peak: int = 0
    hung_up: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["MockEndpoint"]:
        self._free = asyncio.Semaphore(self.slots)
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            await server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._served(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection may be used again."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        self.authorizations.add(headers.get("authorization", ""))
        if head[0].startswith("GET"):
            writer.write(_response(200, b'{"object":"list","data":[]}'))
            return True
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            return await self._complete(orjson.loads(content), reader, writer)
        finally:
            self.running -= 1

    async def _complete(self, body: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        number, self.count = self.count, self.count + 1
        if self.keeps_calls:
            self.calls.append(body)
        how = self.behave(number, body)
        if how.latency_s:
            async with self._free:
                await asyncio.sleep(how.latency_s)
        if how.hangs:
            await reader.read(1)
            self.hung_up += 1
            return False
        if body.get("stream") and how.status == 200 and how.body is None:
            return await _stream(_answer(number, body, how), how, writer)
        response = _response(how.status, _answer(number, body, how), how.headers)
        if how.broken_off:
            writer.write(response[: len(response) - 20])
            await writer.drain()
            writer.transport.abort()
            return False
        writer.write(response)
        return True


async def _stream(answer: bytes, how: Behaviour, writer: asyncio.StreamWriter) -> bool:
    """The answer as events; whether the connection may be used again."""
    completion = orjson.loads(answer)
    text = completion["choices"][0]["message"]["content"]
    pieces = [{"role": "assistant", "content": ""}, *({"content": text[at : at + 4]} for at in range(0, len(text), 4))]
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": piece, "finish_reason": None}]} for piece in pieces
    ]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    chunks.append({"choices": [], "usage": completion["usage"]})
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    for index, chunk in enumerate(chunks):
        if how.broken_off and index == len(pieces) // 2:
            writer.transport.abort()
            return False
        event = b"data: " + orjson.dumps(chunk) + b"\n\n"
        writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
        await writer.drain()
        await asyncio.sleep(how.piece_s)
    writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
    return True


def _response(status: int, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    more = "".join(f"{name}: {value}\r\n" for name, value in headers)
    reason = _REASONS.get(status, "Other")
    head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


def _answer(number: int, body: dict[str, Any], how: Behaviour) -> bytes:
    if how.body is not None:
        return how.body
    if how.status != 200:
        return orjson.dumps({"error": {"message": "As the script says.", "type": "x", "param": None, "code": how.code}})
    said = str(body["messages"][-1]["content"])
    prompt, answer = (len(orjson.dumps(body)) // BYTES_PER_TOKEN, len(said) // BYTES_PER_TOKEN + 1)
    message = {"role": "assistant", "content": f"echo: {said}"}
    return orjson.dumps(
        {
            "id": f"chatcmpl-theirs-{number}",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer},
        }
    )


async def _serve(port: int, latency_s: float, slots: int) -> None:
    how = Behaviour(latency_s)
    async with MockEndpoint(lambda _number, _body: how, port, keeps_calls=False, slots=slots).serving() as endpoint:
        print(endpoint.url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=200.0)
    parser.add_argument("--slots", type=int, default=32)
    asked = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(asked.port, asked.latency_ms / 1000, asked.slots))


if __name__ == "__main__":
    main()
