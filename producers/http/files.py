"""`/v1/files`: upload, look at, list, read and delete."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from pelton.pipeline.settings.serve import ServeSettings
from pelton.producers.http.errors import BadRequest, Conflict, TooLarge
from pelton.producers.http.file_store import FileStore, StoredFile, new_file_id
from pelton.producers.http.requests import is_ascending, missing, page

PURPOSES = ("batch",)
_FIELDS = frozenset({"file", "purpose"})
_PAGE = 10_000


class Files:
    """Routes. What blocks is done on threads."""

    def __init__(self, store: FileStore, settings: ServeSettings, reading: Callable[[str, str], str | None]) -> None:
        """`reading` names the batch that still reads a tenant's file, if one does."""
        self._store = store
        self._reading = reading
        self._most_bytes = settings.max_file_bytes

    async def upload(self, request: Request, tenant: str) -> Response:
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._most_bytes + 10_000:
            raise self._too_large()
        parser = MultiPartParser(request.headers, self._bounded(request), max_files=1, max_fields=8)
        try:
            form = await parser.parse()
        except (MultiPartException, KeyError) as error:
            message = str(getattr(error, "message", "the boundary is missing")).rstrip(".")
            raise BadRequest(f"The upload is no multipart form: {message}.", code="invalid_form") from None
        try:
            return JSONResponse((await self._store_upload(form, tenant)).body())
        finally:
            await form.close()

    async def listed(self, request: Request, tenant: str) -> Response:
        files = await asyncio.to_thread(self._store.listed, tenant)
        if purpose := request.query_params.get("purpose"):
            files = [file for file in files if file.purpose == purpose]
        if is_ascending(request):
            files.reverse()
        return JSONResponse(page(request, files, [file.id for file in files], default=_PAGE))

    async def retrieve(self, request: Request, tenant: str) -> Response:
        file_id = request.path_params["file_id"]
        return JSONResponse((await asyncio.to_thread(self._store.describe, tenant, file_id)).body())

    async def content(self, request: Request, tenant: str) -> Response:
        file_id = request.path_params["file_id"]
        await asyncio.to_thread(self._store.describe, tenant, file_id)
        return StreamingResponse(self._store.read(tenant, file_id), media_type="application/octet-stream")

    async def delete(self, request: Request, tenant: str) -> Response:
        file_id = request.path_params["file_id"]
        if (batch_id := self._reading(tenant, file_id)) is not None:
            message = f"{batch_id} reads this file: delete it when the batch has ended, or cancel the batch."
            raise Conflict(message, code="file_in_use", param="file_id")
        await asyncio.to_thread(self._store.delete, tenant, file_id)
        return JSONResponse({"id": file_id, "object": "file", "deleted": True})

    async def _store_upload(self, form: FormData, tenant: str) -> StoredFile:
        for name in form.keys() - _FIELDS:
            raise _not_a_field(name)
        file, purpose = form.get("file"), form.get("purpose")
        if not isinstance(file, UploadFile):
            raise missing("file")
        if purpose is None:
            raise missing("purpose")
        if purpose not in PURPOSES:
            raise BadRequest("purpose must be 'batch'.", code="invalid_value", param="purpose")
        name = (file.filename or "upload.jsonl")[:255]
        return await asyncio.to_thread(self._put, tenant, file, name, str(purpose))

    def _put(self, tenant: str, file: UploadFile, filename: str, purpose: str) -> StoredFile:
        return self._store.put(tenant, new_file_id(), file.file, filename=filename, purpose=purpose)

    async def _bounded(self, request: Request) -> AsyncGenerator[bytes, None]:
        size = 0
        async for piece in request.stream():
            size += len(piece)
            if size > self._most_bytes + 10_000:  # the form's own lines
                raise self._too_large()
            yield piece

    def _too_large(self) -> TooLarge:
        return TooLarge(f"A file may have {self._most_bytes:,} bytes at most: split it.", code="file_too_large")


def _not_a_field(name: str) -> BadRequest:
    """`expires_after` comes as `expires_after[anchor]` and `expires_after[seconds]`."""
    if name.partition("[")[0] == "expires_after":
        message = "expires_after is not supported by this version: leave it out, and delete the file yourself."
        return BadRequest(message, code="unsupported_parameter", param="expires_after")
    return BadRequest(f"Unknown parameter {name[:80]!r}: leave it out.", code="unknown_parameter", param=name[:80])
