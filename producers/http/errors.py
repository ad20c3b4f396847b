"""What the HTTP face answers when it cannot do what was asked, in OpenAI's error shape.

ApiError
├── BadRequest     400   the request's fault; names the parameter
├── NoSuchKey      401   no API key, or one that nobody has
├── NotFound       404   no such file, batch or route; somebody else's looks the same
├── Conflict       409   something else would be broken by it
├── TooLarge       413   a body or file beyond its limit
└── Unavailable    503   Kafka or the storage does not answer for now
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class ApiError(Exception):
    """Base of them all. `status` is the HTTP status, `code` a stable word for programs."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "server_error"
    headers: ClassVar[Mapping[str, str] | None] = None

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param

    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


class BadRequest(ApiError):
    status = 400
    kind = "invalid_request_error"


class NoSuchKey(ApiError):
    status = 401
    kind = "invalid_request_error"
    headers: ClassVar[Mapping[str, str] | None] = {"www-authenticate": "Bearer"}


class NotFound(ApiError):
    status = 404
    kind = "invalid_request_error"


class Conflict(ApiError):
    status = 409
    kind = "invalid_request_error"


class TooLarge(ApiError):
    status = 413
    kind = "invalid_request_error"


class Unavailable(ApiError):
    status = 503


class GatewayTimeout(ApiError):
    status = 504
