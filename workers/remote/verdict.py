"""What came of a call: an answer, the request's fault, or something that passes. The one place that sorts statuses."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

import orjson

from pelton.pipeline.outside_text import shown
from pelton.workers.engine.api import WrittenAnswer
from pelton.workers.remote.answer import InvalidAnswer, written_answer

LONGEST_PAUSE_S = 3_600.0
"""However long an endpoint asks for."""
_CODE_BY_STATUS: dict[int, str] = {HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request_too_large"}

_BUSY = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
        529,
    }
)
"""The endpoint has not taken the request: it is sent again, and that is no second attempt."""
_OURS = frozenset(
    {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED,
     HTTPStatus.PROXY_AUTHENTICATION_REQUIRED}
)  # fmt: skip
"""Key, address or model are not what the endpoint knows: an operator's to mend, and no request's fault."""


class Fate(Enum):
    """What is to become of a request after a call."""

    ANSWERED = auto()
    REFUSED = auto()
    """The fault is the request's."""
    FAILED = auto()
    """It was an attempt, and may go better another time."""
    BUSY = auto()
    """It was not taken: later, or elsewhere."""
    UNREACHABLE = auto()
    """It was never sent: elsewhere, or later."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The fate of a call, with what belongs to it. `retry_after_s` is what the endpoint asks for, if it does."""

    fate: Fate
    message: str = ""
    answer: WrittenAnswer | None = None
    code: str | None = None
    param: str | None = None
    retry_after_s: float | None = None


def judge(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    """Sort a whole response."""
    if status == HTTPStatus.OK:
        try:
            return Verdict(Fate.ANSWERED, answer=written_answer(body))
        except InvalidAnswer as error:
            return Verdict(Fate.FAILED, f"The endpoint's answer is none: {error}.")
    told = _told(body)
    words = f"The endpoint answers with status {status}: {told.message}"
    if status in _BUSY:
        return Verdict(Fate.BUSY, words, retry_after_s=retry_after_s(headers))
    ours = status in _OURS and not (status == HTTPStatus.FORBIDDEN and told.content)
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and not ours:
        return Verdict(Fate.REFUSED, words, code=told.code or _CODE_BY_STATUS.get(status), param=told.param)
    return Verdict(Fate.FAILED, words)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the headers ask to wait: `retry-after-ms`, else `retry-after` in seconds or as a date."""
    lower = {name.lower(): value.strip() for name, value in headers.items()}
    wait_s = _number(lower.get("retry-after-ms"), 1000)
    if wait_s is None:
        wait_s = _number(lower.get("retry-after"), 1)
    if wait_s is None:
        wait_s = _until(lower.get("retry-after"))
    return None if wait_s is None else min(max(0.0, wait_s), LONGEST_PAUSE_S)


def _number(text: str | None, per_second: int) -> float | None:
    try:
        value = float(text or "") / per_second
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _until(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text or "").timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class _Told:
    message: str
    code: str | None = None
    param: str | None = None
    content: bool = False
    """Whether it is what the request says that is refused."""


def _told(body: bytes) -> _Told:
    """What a body says of an error, in any of the shapes there are: OpenAI's, vLLM's older one, FastAPI's, or text."""
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _Told(_sentence(body.decode(errors="replace")))
    error = given.get("error", given) if isinstance(given, dict) else given
    if not isinstance(error, dict):
        return _Told(_sentence(str(error)))
    message = error.get("message") or error.get("detail") or error
    code = _word(error.get("code"))
    text = message if isinstance(message, str) else orjson.dumps(message).decode()
    return _Told(
        _sentence(text if code is None else f"{text.rstrip('.')} (code {code})"),
        code,
        _word(error.get("param")),
        content=_names_content(error),
    )


def _names_content(error: dict[str, Any]) -> bool:
    """A code or type that names content, or the fields in which gateways report what a moderation has found."""
    words = f"{error.get('code')} {error.get('type')}".lower()
    more = error.get("metadata")
    flagged = isinstance(more, dict) and not more.keys().isdisjoint({"flagged_input", "reasons"})
    return flagged or any(name in words for name in ("content_filter", "content_policy", "moderation"))


def _word(value: Any) -> str | None:
    return shown(value, 200) if isinstance(value, str) and value else None


def _sentence(text: str) -> str:
    line = shown(" ".join(text.split())) or "nothing more"
    return line if line.endswith((".", "!", "?")) else f"{line}."
