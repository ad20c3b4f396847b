"""What routes have in common: who calls, what the body says, and pages of a list."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import orjson
from starlette.requests import Request

from pelton.producers.http.errors import BadRequest, TooLarge

MAX_PAGE = 10_000
_MAX_DIGITS = 9


class _Listed(Protocol):
    def body(self) -> dict[str, Any]: ...


Item = TypeVar("Item", bound=_Listed)


async def read_body(request: Request, most_bytes: int) -> bytes:
    """Raises `TooLarge` as soon as there is too much."""
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > most_bytes:
            raise TooLarge(f"The body has more than the {most_bytes:,} bytes that are taken.", code="body_too_large")
        pieces.append(piece)
    return b"".join(pieces)


async def read_object(request: Request, most_bytes: int) -> dict[str, Any]:
    """The body as a JSON object. Raises `BadRequest` or `TooLarge`."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        message = f"A body in the encoding {encoding[:80]!r} is not read: send it as it is, without Content-Encoding."
        raise BadRequest(message, code="unsupported_encoding")
    try:
        given = orjson.loads(await read_body(request, most_bytes))
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error}.", code="invalid_json") from None
    if not isinstance(given, dict):
        raise BadRequest("The body must be a JSON object.", code="not_an_object")
    return given


def missing(name: str) -> BadRequest:
    return BadRequest(f"Missing required parameter {name!r}.", code="missing_required_parameter", param=name)


def required_text(body: dict[str, Any], name: str) -> str:
    """A field that must be there and a text. Raises `BadRequest`."""
    value = body.get(name)
    if value is None:
        raise missing(name)
    if not isinstance(value, str):
        raise BadRequest(f"Invalid {name!r}: must be a string.", code="invalid_value", param=name)
    return value


def is_ascending(request: Request) -> bool:
    """What `order` asks for; the newest come first by default. Raises `BadRequest`."""
    order = request.query_params.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise BadRequest("order must be 'asc' or 'desc'.", code="invalid_value", param="order")
    return order == "asc"


def page(request: Request, items: Sequence[Item], ids: Sequence[str], *, default: int) -> dict[str, Any]:
    """OpenAI's list object: `limit` items behind the one that `after` names. Raises `BadRequest`."""
    limit = request.query_params.get("limit", str(default))
    if not limit.isdecimal() or len(limit) > _MAX_DIGITS or not 0 < int(limit) <= MAX_PAGE:
        raise BadRequest(f"limit must be a number from 1 to {MAX_PAGE}.", code="invalid_value", param="limit")
    after = request.query_params.get("after")
    if after is not None and after not in ids:
        raise BadRequest(f"after names nothing in this list: {after[:80]!r}.", code="invalid_value", param="after")
    start = 0 if after is None else ids.index(after) + 1
    shown = items[start : start + int(limit)]
    bodies = [item.body() for item in shown]
    return {
        "object": "list",
        "data": bodies,
        "first_id": bodies[0]["id"] if bodies else None,
        "last_id": bodies[-1]["id"] if bodies else None,
        "has_more": start + len(shown) < len(items),
    }
