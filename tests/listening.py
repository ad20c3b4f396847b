"""Servers of a test's own that leave nothing behind: whoever is cut off in the middle is closed too."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]

_GOODBYE_S = 1.0
"""What is written last may take so long to reach a peer that reads; one that does not is cut off."""


@asynccontextmanager
async def listening(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A port on loopback whose connections `serve` gets; at the end all that are still open are closed."""
    serving: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with closing(writer):
            await serve(reader, writer)

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(connected(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        left = list(serving)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


@asynccontextmanager
async def closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Closes it at the end, and waits until its socket is."""
    try:
        yield
    finally:
        writer.close()
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await writer.wait_closed()
        except (OSError, TimeoutError):
            writer.transport.abort()
            await asyncio.sleep(0)  # the loop closes it in its next turn


async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """All that comes from `source`, until either side is gone; then the other end is told that no more comes."""
    async with closing(target):
        try:
            while piece := await source.read(65_536):
                target.write(piece)
                await target.drain()
        except OSError:
            pass
