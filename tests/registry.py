"""A stand-in for a schema registry, with the answers of Confluent's over HTTP."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any

from aiohttp import web

Version = tuple[str, str, str, Sequence[dict[str, Any]]]
"""Kind, text, subject, references."""


@dataclass
class RegistryStandIn:
    """Ids count from 1. While `status` is set, every question has this answer; the `broken` paths have 500."""

    authorization: str | None = None
    status: int | None = None
    asked: Counter[str] = field(default_factory=Counter)
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    schemas: list[Version] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    def register(self, subject: str, text: str, kind: str = "AVRO", references: Sequence[dict[str, Any]] = ()) -> int:
        """The new schema's id."""
        self.schemas.append((kind, text, subject, references))
        return len(self.schemas)

    @asynccontextmanager
    async def serving(self, port: int = 0, tls: SSLContext | None = None) -> AsyncIterator[int]:
        """Gives the port."""
        app = web.Application()
        app.router.add_get("/schemas/ids/{id}", self._by_id)
        app.router.add_get("/subjects/{subject}/versions/{version}", self._by_subject)
        app.middlewares.append(self._guarded)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls, reuse_address=True).start()
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked[request.path] += 1
        self.was_asked.set()
        if self.status is not None:
            return web.Response(status=self.status, text="not now")
        if request.path in self.broken:
            return _fault(500, 50001, "Error while retrieving schema")
        if self.authorization not in {None, request.headers.get("authorization")}:
            return _fault(401, 401, "Unauthorized")
        response: web.StreamResponse = await handler(request)
        return response

    async def _by_id(self, request: web.Request) -> web.Response:
        number = int(request.match_info["id"])
        if not 0 < number <= len(self.schemas):
            return _fault(404, 40403, f"Schema {number} not found")
        return web.json_response(self._told(number))

    async def _by_subject(self, request: web.Request) -> web.Response:
        subject, version = request.match_info["subject"], request.match_info["version"]
        numbers = [number for number, (_, _, owner, _) in enumerate(self.schemas, 1) if owner == subject]
        if not numbers:
            return _fault(404, 40401, f"Subject {subject!r} not found.")
        number = numbers[-1 if version == "latest" else int(version) - 1]
        return web.json_response({"subject": subject, "version": 1, "id": number, **self._told(number)})

    def _told(self, number: int) -> dict[str, Any]:
        """Avro is not named, and no references are not mentioned."""
        kind, text, _, references = self.schemas[number - 1]
        told: dict[str, Any] = {"schema": text} if kind == "AVRO" else {"schema": text, "schemaType": kind}
        return {**told, "references": list(references)} if references else told


def _fault(status: int, code: int, message: str) -> web.Response:
    return web.json_response({"error_code": code, "message": message}, status=status)
