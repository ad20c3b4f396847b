"""Calls of an endpoint over HTTP, on connections that are kept."""

import asyncio
from collections.abc import Callable, Mapping

import aiohttp

from pelton.pipeline.outside_text import shown
from pelton.workers.remote.answer import InvalidAnswer
from pelton.workers.remote.event_stream import StreamedCompletion
from pelton.workers.remote.verdict import Fate, Verdict, judge

PROBE_S = 5.0
KEPT_S = 15.0
"""How long an idle connection is kept. Servers close theirs too; one that closes meanwhile is noticed."""
STREAMED = b',"stream":true,"stream_options":{"include_usage":true}}'
"""In place of a body's last brace: asks for events."""
_OK, _SERVER_ERROR = 200, 500
_EVENTS = "text/event-stream"
_REFUSES_US = frozenset({401, 403, 407})


class Caller:
    """Lives on the event loop it was made on."""

    def __init__(self, headers: Mapping[str, str], *, connect_s: float, answer_s: float, most_bytes: int) -> None:
        """`headers` go with every call."""
        self._connect_s = connect_s
        self._answer_s = answer_s
        self._most_bytes = most_bytes
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_S),
            headers={"content-type": "application/json", **headers},
            timeout=aiohttp.ClientTimeout(total=answer_s, sock_connect=connect_s),
        )

    async def close(self) -> None:
        await self._session.close()

    async def complete(self, url: str, body: bytes, on_text: Callable[[str], None] | None = None) -> Verdict:
        """Send a chat-completions body and wait for all of the answer. Cancelled, it closes the connection.

        With `on_text` the endpoint is asked to send the text as it comes; one that does not do so is no worse.
        """
        sent = body if on_text is None else body[:-1] + STREAMED
        try:
            async with self._session.post(f"{url}/chat/completions", data=sent, allow_redirects=False) as response:
                follow = None
                if on_text is not None and response.status == _OK and response.content_type == _EVENTS:
                    follow = StreamedCompletion(on_text)
                content = await self._read(response, follow)
                if content is None:
                    return Verdict(Fate.FAILED, f"The endpoint's answer has more than {self._most_bytes:,} bytes.")
                return judge(response.status, response.headers, content)
        except InvalidAnswer as error:
            return Verdict(Fate.FAILED, f"The endpoint's answer is none: {error}.")
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            return Verdict(Fate.UNREACHABLE, f"No connection to the endpoint: {shown(str(error))}.")
        except TimeoutError:
            return Verdict(Fate.FAILED, f"The endpoint has not answered within {self._answer_s:g} s.")
        except (aiohttp.ClientError, OSError) as error:
            told = shown(str(error) or type(error).__name__)
            return Verdict(Fate.FAILED, f"The endpoint has broken off the call: {told}.")

    async def is_there(self, url: str) -> str | None:
        """Ask for the list of models: None where something fit to answer is there, else what speaks against it."""
        try:
            async with asyncio.timeout(PROBE_S), self._session.get(f"{url}/models", allow_redirects=False) as response:
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return shown(str(error) or type(error).__name__)
        # Not every endpoint has a list of models: another status shows as much that somebody listens.
        return f"status {status}" if status >= _SERVER_ERROR or status in _REFUSES_US else None

    async def _read(self, response: aiohttp.ClientResponse, follow: StreamedCompletion | None) -> bytes | None:
        """None for a body that is too long. Of one that is followed, what its events come to."""
        pieces: list[bytes] = []
        size = 0
        async for piece in response.content.iter_any():
            size += len(piece)
            if size > self._most_bytes:
                response.close()
                return None
            if follow is None:
                pieces.append(piece)
            else:
                follow.feed(piece)
        return b"".join(pieces) if follow is None else follow.completion()
