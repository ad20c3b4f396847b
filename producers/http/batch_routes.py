"""`/v1/batches`: make, look at, list and cancel."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pelton.producers.http.batches.documents import ENDPOINT, WINDOW
from pelton.producers.http.batches.service import BatchService
from pelton.producers.http.errors import BadRequest, NotFound
from pelton.producers.http.file_store import FileStore
from pelton.producers.http.files import PURPOSES
from pelton.producers.http.requests import page, read_object, required_text

_PAGE = 20
_FIELDS = frozenset({"input_file_id", "endpoint", "completion_window", "metadata"})
MAX_BYTES = 65_536
MAX_METADATA = 16


class Batches:
    def __init__(self, service: BatchService, store: FileStore) -> None:
        self._service = service
        self._store = store

    async def create(self, request: Request, tenant: str) -> Response:
        body = await read_object(request, MAX_BYTES)
        _refuse_others(body)
        _must_be(body, "endpoint", ENDPOINT)
        _must_be(body, "completion_window", WINDOW)
        input_file_id = required_text(body, "input_file_id")
        metadata = _metadata(body.get("metadata"))
        await asyncio.to_thread(self._check_input, tenant, input_file_id)
        batch = await self._service.create(tenant, input_file_id, metadata)
        return JSONResponse(batch.body())

    async def listed(self, request: Request, tenant: str) -> Response:
        batches = self._service.listed(tenant)
        return JSONResponse(page(request, batches, [batch.order.id for batch in batches], default=_PAGE))

    async def retrieve(self, request: Request, tenant: str) -> Response:
        return JSONResponse(self._service.get(tenant, request.path_params["batch_id"]).body())

    async def cancel(self, request: Request, tenant: str) -> Response:
        batch = await self._service.cancel(tenant, request.path_params["batch_id"])
        return JSONResponse(batch.body())

    def _check_input(self, tenant: str, file_id: str) -> None:
        """Raises `NotFound`, `BadRequest` or `OSError`."""
        try:
            stored = self._store.describe(tenant, file_id)
        except NotFound as missing:
            raise NotFound(missing.message, code=missing.code, param="input_file_id") from None
        if stored.purpose not in PURPOSES:
            message = f"{file_id} was made for {stored.purpose!r}: upload the input with the purpose 'batch'."
            raise BadRequest(message, code="invalid_value", param="input_file_id")


def _refuse_others(body: dict[str, Any]) -> None:
    if body.pop("output_expires_after", None) is not None:
        message = "output_expires_after is not supported by this version: leave it out, and delete the files yourself."
        raise BadRequest(message, code="unsupported_parameter", param="output_expires_after")
    if unknown := body.keys() - _FIELDS:
        name = min(unknown)
        raise BadRequest(f"Unknown parameter {name[:80]!r}: leave it out.", code="unknown_parameter", param=name)


def _must_be(body: dict[str, Any], name: str, only: str) -> None:
    if required_text(body, name) != only:
        raise BadRequest(f"{name} must be {only!r}.", code="invalid_value", param=name)


def _metadata(given: object) -> dict[str, str] | None:
    """At most 16 texts, as OpenAI takes them. Raises `BadRequest`."""
    if given is None:
        return None
    if (
        not isinstance(given, dict)
        or len(given) > MAX_METADATA
        or not all(isinstance(value, str) for value in given.values())
    ):
        message = f"metadata must be an object of at most {MAX_METADATA} texts."
        raise BadRequest(message, code="invalid_value", param="metadata")
    return given
