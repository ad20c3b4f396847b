"""Questions to a schema registry that speaks Confluent's API."""

import asyncio
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from pydantic import BaseModel, Field, ValidationError

from pelton.pipeline.outside_text import shown
from pelton.pipeline.settings.worker import SchemaSettings
from pelton.pipeline.wire.record_forms.framing import MAX_SCHEMA_ID
from pelton.pipeline.wire.record_forms.schema import Reference, RegisteredSchema
from pelton.pipeline.wire.record_forms.table import OutputSubject

MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_REFERENCES = 256
_MAX_CONNECTIONS = 8
_ACCEPTED = "application/vnd.schemaregistry.v1+json, application/json"
_NOT_THERE = frozenset({40401, 40402, 40403})
"""The registry's own codes: no such subject, version, schema. A wrong address answers 404 as well, without them."""


class RegistryAway(Exception):
    """No answer that says anything about the schema; the same question may fare better later."""


class NotInRegistry(Exception):
    """The registry has no such schema, subject or version."""


class _Reference(BaseModel):
    name: str
    subject: str
    version: int


class _Answer(BaseModel):
    text: str = Field(alias="schema")
    kind: str = Field("AVRO", alias="schemaType")
    id: int | None = None
    references: list[_Reference] | None = None


@dataclass(frozen=True, slots=True)
class SchemaRegistry:
    """Lives on the event loop of its session."""

    session: aiohttp.ClientSession
    url: str

    @classmethod
    def of(cls, settings: SchemaSettings) -> "SchemaRegistry":
        """Made on the loop that it lives on, for settings with a `url`."""
        user, secret, token = settings.username, settings.password, settings.token
        headers = {"accept": _ACCEPTED, "user-agent": "pelton"}
        if token is not None:
            headers["authorization"] = f"Bearer {token.get_secret_value()}"
        elif user is not None and secret is not None:
            login = b64encode(f"{user}:{secret.get_secret_value()}".encode())
            headers["authorization"] = f"Basic {login.decode()}"
        connector = aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, ssl=settings.tls() if settings.encrypted else True)
        timeout = aiohttp.ClientTimeout(total=settings.timeout_s)
        session = aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout)
        return cls(session, str(settings.url).rstrip("/"))

    async def close(self) -> None:
        await self.session.close()

    async def schema(self, schema_id: int) -> RegisteredSchema:
        """Raises `RegistryAway` or `NotInRegistry`."""
        answer = await self._ask(f"schemas/ids/{schema_id}")
        return RegisteredSchema(schema_id, answer.kind, answer.text, await self._references(answer))

    async def works(self) -> bool:
        """Whether it answers the question for another schema: for one that no registry has, so that it must look."""
        try:
            with suppress(NotInRegistry):
                await self._ask(f"schemas/ids/{MAX_SCHEMA_ID}")
        except RegistryAway:
            return False
        return True

    async def subject(self, output: OutputSubject) -> RegisteredSchema:
        """The schema of a subject's version. Raises `RegistryAway` or `NotInRegistry`."""
        answer = await self._ask(_version(output.subject, output.version))
        if answer.id is None:
            raise RegistryAway("it does not say the id of a subject's schema")
        return RegisteredSchema(answer.id, answer.kind, answer.text, await self._references(answer))

    async def _references(self, answer: _Answer) -> tuple[Reference, ...]:
        """All that a schema refers to, directly or not, each once and before those that need it."""
        found: dict[str, Reference] = {}
        asked: set[str] = set()

        async def follow(named: list[_Reference]) -> None:
            for reference in named:
                if reference.name in asked:
                    continue
                asked.add(reference.name)
                if len(asked) > MAX_REFERENCES:
                    raise NotInRegistry(f"it refers to more than {MAX_REFERENCES} others")
                inner = await self._ask(_version(reference.subject, str(reference.version)))
                await follow(inner.references or [])
                found[reference.name] = Reference(reference.name, inner.text)

        await follow(answer.references or [])
        return tuple(found.values())

    async def _ask(self, path: str) -> _Answer:
        try:
            async with self.session.get(f"{self.url}/{path}", allow_redirects=False) as response:
                content = await _bounded(response)
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise RegistryAway(shown(str(error) or type(error).__name__)) from None
        if status == HTTPStatus.OK:
            return _understood(content)
        code, message = _fault(content)
        if status == HTTPStatus.NOT_FOUND and code in _NOT_THERE:
            raise NotInRegistry(f"the registry says: {shown(message)}")
        hint = {401: "; set schemas.username and schemas.password, or schemas.token", 404: "; see schemas.url"}
        raise RegistryAway(f"it answers /{path} with status {status} ({shown(message)}){hint.get(status, '')}")


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for piece in response.content.iter_any():
        content += piece
        if len(content) > MAX_ANSWER_BYTES:
            response.close()
            raise RegistryAway(f"its answer has more than {MAX_ANSWER_BYTES:,} bytes")
    return bytes(content)


def _understood(content: bytes) -> _Answer:
    try:
        return _Answer.model_validate(orjson.loads(content))
    except (orjson.JSONDecodeError, ValidationError):
        raise RegistryAway("its answer is not a schema registry's; see schemas.url") from None


def _fault(content: bytes) -> tuple[int | None, str]:
    """The registry's own code and words, where there are any."""
    try:
        told: Any = orjson.loads(content)
        return int(told["error_code"]), str(told["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None, "without its error_code"


def _version(subject: str, version: str) -> str:
    return f"subjects/{quote(subject, safe='')}/versions/{quote(version, safe='')}"
