"""Every fault of a body, for those who check many before they send any; a worker reports the first."""

import re
from typing import Any

import orjson

from pelton.pipeline.errors import RequestError
from pelton.pipeline.wire.decoding import decode_request

MAX_FAULTS = 20
"""Of one body: who has mended these may ask again."""
_PLACE = re.compile(r"([^.\[]+)(?:\[(\d+)\])?")
_SOUND: dict[str, Any] = {"model": "default", "messages": [{"role": "user", "content": "-"}]}


def all_faults(value: bytes, *, max_bytes: int) -> list[RequestError]:
    """What `decode_request` raises, again and again, with each field at fault set right for the next look.

    A field has one fault at a time, and so has a message.
    """
    found: list[RequestError] = []
    body: Any = None
    while (fault := _fault(value, max_bytes)) is not None and len(found) < MAX_FAULTS:
        found.append(fault)
        body = body or _loaded(value)
        if not isinstance(body, dict) or not _set_right(body, fault.param):
            break
        value = orjson.dumps(body)
    return found


def _fault(value: bytes, max_bytes: int) -> RequestError | None:
    try:
        decode_request(value, max_bytes=max_bytes)
    except RequestError as error:
        return error
    return None


def _loaded(value: bytes) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None


def _set_right(body: dict[str, Any], param: str | None) -> bool:
    """Whether the field could be changed: else the same fault would be found for ever."""
    place = _PLACE.match(param or "")
    if place is None:
        return False
    name, index = place[1], place[2]
    messages = body.get(name)
    if name == "messages" and index is not None and isinstance(messages, list) and int(index) < len(messages):
        sound = _SOUND["messages"][0]
        changed = messages[int(index)] != sound
        messages[int(index)] = sound
        return bool(changed)
    if name in _SOUND:
        changed = body.get(name) != _SOUND[name]
        body[name] = _SOUND[name]
        return bool(changed)
    return body.pop(name, None) is not None
