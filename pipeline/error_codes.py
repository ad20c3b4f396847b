"""Errors looked up by the codes that stand for them on the wire."""

from typing import TypeVar

from pelton.pipeline.errors import EndpointRefused, ExecutionError, PeltonError, RequestError

Kind = TypeVar("Kind", bound=PeltonError)


def _leaves(kind: type[Kind]) -> list[type[Kind]]:
    below = kind.__subclasses__()
    return [kind] if not below else [leaf for child in below for leaf in _leaves(child)]


_REQUEST_ERRORS = {leaf.code: leaf for leaf in _leaves(RequestError)}
_STATUS_BY_CODE = {leaf.code: leaf.status for leaf in _leaves(PeltonError)}


def status_of(code: str | None) -> int:
    """The HTTP status an error code stands for; 500 for one this version does not know."""
    return _STATUS_BY_CODE.get(code or "", 500)


ERROR_CODES = tuple(kind.code for family in (RequestError, ExecutionError) for kind in family.__subclasses__())
"""Every code that a reply can have."""


def request_error(code: str | None) -> type[RequestError]:
    """The error of the sender's that has this code; of an unknown one, `EndpointRefused`."""
    return _REQUEST_ERRORS.get(code or "", EndpointRefused)
