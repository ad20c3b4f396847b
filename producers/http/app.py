"""The HTTP application: routes, who may call them, and errors in OpenAI's shape."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from pelton.producers.http.batch_routes import Batches
from pelton.producers.http.chat import Chat
from pelton.producers.http.errors import ApiError, NotFound
from pelton.producers.http.files import Files
from pelton.producers.http.keys import ApiKeys
from pelton.producers.http.request_ids import RequestIds, request_id

log = logging.getLogger(__name__)

Handler = Callable[[Request, str], Awaitable[Response]]

_VERSION = "/v1"
_ROOTS = ("/v1/chat/completions", "/v1/files", "/v1/batches", "/v1/models")
_CLIENT_CLOSED = 499
"""Nobody reads it: the word that servers log for a client that has gone."""


@dataclass(frozen=True, slots=True)
class Faces:
    """What the routes lead to."""

    chat: Chat
    files: Files
    batches: Batches
    keys: ApiKeys
    models: tuple[str, ...]
    started_at: int


def make_app(faces: Faces) -> ASGIApp:
    """Handlers get the caller's tenant."""
    route = partial(_route, faces.keys)

    async def models(request: Request, tenant: str) -> Response:
        del request, tenant
        return JSONResponse({"object": "list", "data": [_model(name, faces.started_at) for name in faces.models]})

    async def model(request: Request, tenant: str) -> Response:
        name = request.path_params["model"]
        if not name:
            return await models(request, tenant)
        if name not in faces.models:
            raise NotFound(f"There is no model {name[:80]!r}.", code="model_not_found", param="model")
        return JSONResponse(_model(name, faces.started_at))

    files, batches = faces.files, faces.batches
    routes = [
        route("/v1/chat/completions", POST=faces.chat.complete),
        route("/v1/files", GET=files.listed, POST=files.upload),
        route("/v1/files/{file_id}", GET=files.retrieve, DELETE=files.delete),
        route("/v1/files/{file_id}/content", GET=files.content),
        route("/v1/batches", GET=batches.listed, POST=batches.create),
        route("/v1/batches/{batch_id}", GET=batches.retrieve),
        route("/v1/batches/{batch_id}/cancel", POST=batches.cancel),
        route("/v1/models", GET=models),
        route("/v1/models/{model:path}", GET=model),
        Route("/healthz", _healthy, methods=["GET"]),
    ]
    handlers = {
        ApiError: _api_error,
        HTTPException: _http_error,
        ClientDisconnect: _gone,
        Exception: _unexpected,
    }
    return RequestIds(Starlette(routes=routes, exception_handlers=handlers))


def _route(keys: ApiKeys, path: str, **handlers: Handler) -> Route:
    """All methods of a path, by their names: who asks for another is told of these."""

    async def endpoint(request: Request) -> Response:
        handler = handlers["GET" if request.method == "HEAD" else request.method]
        return await handler(request, keys.tenant(request.headers.get("authorization")))

    return Route(path, endpoint, methods=list(handlers))


def _model(name: str, created: int) -> dict[str, object]:
    return {"id": name, "object": "model", "created": created, "owned_by": "pelton"}


async def _healthy(request: Request) -> Response:
    del request
    return JSONResponse({"status": "ok"})


async def _api_error(request: Request, error: Exception) -> Response:
    del request
    if not isinstance(error, ApiError):
        raise error
    return JSONResponse(error.body(), error.status, error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    """What the router refuses: a path that is none, or a method that a path does not have."""
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    if (allowed := headers.get("Allow")) is not None:
        headers["Allow"] = allowed = ", ".join(sorted(allowed.split(", ")))
    message, code = _not_served(request.method, request.url.path, allowed)
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    return JSONResponse(body, error.status_code, headers)


def _not_served(method: str, path: str, allowed: str | None) -> tuple[str, str]:
    """Message and code. The commonest slip is a client whose address lacks the version."""
    if allowed is not None:
        return f"{path[:200]} takes {allowed}, not {method}.", "method_not_allowed"
    lacks_version = path in {"/", _VERSION} or f"{_VERSION}{path}".startswith(_ROOTS)
    remedy = f"end your client's base_url with {_VERSION}" if lacks_version else f"served are {', '.join(_ROOTS)}"
    return f"{method} {path[:200]} is not served here: {remedy}.", "unknown_url"


async def _gone(request: Request, error: Exception) -> Response:
    del request, error
    return Response(status_code=_CLIENT_CLOSED)


async def _unexpected(request: Request, error: Exception) -> Response:
    asked = f"{request.method} {request.url.path[:200]!r}"
    log.error("%s failed, request %s", asked, request_id(request).decode("ascii"), exc_info=error)
    message = "The server failed to do this; its log has the details."
    body = {"error": {"message": message, "type": "server_error", "param": None, "code": "internal_error"}}
    return JSONResponse(body, 500)
