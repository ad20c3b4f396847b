"""From bytes to a `ChatRequest`, with an error that names the field and the fix for everything else."""

from typing import Any

import orjson
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pelton.pipeline.errors import (
    EmptyRecord,
    InvalidJson,
    InvalidValue,
    MissingParameter,
    NotAnObject,
    NotUtf8,
    RequestError,
    RequestTooLarge,
    UnknownParameter,
    UnsupportedParameter,
)
from pelton.pipeline.wire.chat import MAX_FIELDS, MAX_MESSAGES, MAX_METADATA, MAX_PARTS, ChatRequest

# OpenAI fields that have no support yet, with the values that ask for nothing and so may pass.
_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "modalities": (["text"],),
    "moderation": (),
    "prediction": (),
    "prompt_cache_options": (),
    "prompt_cache_retention": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "stream": (False,),
    "stream_options": (),
    "verbosity": ("medium",),
    "web_search_options": (),
}
_UNSUPPORTED_IN_MESSAGE = ("annotations", "audio", "function_call", "reasoning", "refusal")
_COPIES = ("parsed", "parsed_arguments", "index")
"""What OpenAI's client adds to an answer that it has read (`parse()`, `stream()`), and sends back as history."""
_UNSUPPORTED_IN_PART = ("prompt_cache_breakpoint",)
_UNSUPPORTED_ROLES = ("function",)
_UNSUPPORTED_PARTS = ("file", "image_url", "input_audio", "refusal", "video_url")
_UNION_FIELDS = ("content", "stop", "response_format", "tool_choice")


def decode_request(value: bytes | None, *, max_bytes: int) -> ChatRequest:
    """Decode one record value.

    Raises the `RequestError` that tells the sender what to change.
    """
    if value is None:
        raise EmptyRecord("The record has no value (a tombstone): send a chat-completions body as JSON.")
    if len(value) > max_bytes:
        raise RequestTooLarge(
            f"The body has {len(value):,} bytes, more than the {max_bytes:,} this worker reads: "
            "send less text, or have the operator raise worker.max_request_bytes."
        )
    body = _load_object(value)
    _check_counts(body)
    known = {name: given for name, given in body.items() if not _is_neutral(name, given)}
    messages = known.get("messages")
    if isinstance(messages, list):
        known["messages"] = [_check_message(index, message) for index, message in enumerate(messages)]
    try:
        return ChatRequest.model_validate(known)
    except ValidationError as error:
        raise _translate(error) from None


def load_json(value: bytes, what: str) -> Any:
    """Parse the JSON of `what`, which errors name. Raises `NotUtf8` or `InvalidJson`."""
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        try:
            value.decode()
        except UnicodeDecodeError as bad:
            raise NotUtf8(f"The {what} is not UTF-8: {bad.reason} at byte {bad.start}.") from None
        raise InvalidJson(f"The {what} is not JSON: {error}.") from None


def _load_object(value: bytes) -> dict[str, Any]:
    body = load_json(value, "body")
    if not isinstance(body, dict):
        raise NotAnObject(f"The body must be a JSON object, got {_kind(body)}.")
    return body


def _check_counts(body: dict[str, Any]) -> None:
    """Refuse what has too many of anything, before a model is built of any of it."""
    _check_count(body, MAX_FIELDS, "fields")
    _check_count(body.get("metadata"), MAX_METADATA, "pairs", "metadata")
    messages = body.get("messages")
    if not isinstance(messages, list):
        return
    _check_count(messages, MAX_MESSAGES, "messages", "messages")
    parts = 0
    for index, message in enumerate(messages):
        if isinstance(message, dict):
            _check_count(message, MAX_FIELDS, "fields", f"messages[{index}]")
            content = message.get("content")
            parts += len(content) if isinstance(content, list) else 0
    if parts > MAX_PARTS:
        raise InvalidValue(
            f"Invalid 'messages': {parts:,} parts in all, at most {MAX_PARTS:,} are read: join them.",
            param="messages",
        )


def _check_count(given: Any, most: int, what: str, param: str | None = None) -> None:
    if isinstance(given, (dict, list)) and len(given) > most:
        name = "body" if param is None else repr(param)
        raise InvalidValue(f"Invalid {name}: {len(given):,} {what}, at most {most:,} are read.", param=param)


def _is_neutral(name: str, given: Any) -> bool:
    """Whether a field asks for nothing. Raises `UnsupportedParameter` for one that asks for what is not built."""
    if name not in _UNSUPPORTED:
        return False
    harmless = _UNSUPPORTED[name]
    if given is None or any(given == value and type(given) is type(value) for value in harmless):
        return True
    remedy = f"leave it out or send {orjson.dumps(harmless[0]).decode()}" if harmless else "leave it out"
    raise UnsupportedParameter(f"Parameter {name!r} is not supported by this version: {remedy}.", param=name)


def _check_message(index: int, message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    place = f"messages[{index}]"
    if message.get("role") in _UNSUPPORTED_ROLES:
        raise _unsupported(f"{place}.role", f"role {message['role']!r}")
    known = _without_copies(_without(_UNSUPPORTED_IN_MESSAGE, message, place))
    content = known.get("content")
    if content is None and "role" in known and not known.get("tool_calls"):
        raise _without_content(f"{place}.content", given="content" in known)
    if isinstance(content, list):
        known["content"] = [_check_part(f"{place}.content[{at}]", part) for at, part in enumerate(content)]
    return known


def _without_copies(message: dict[str, Any]) -> dict[str, Any]:
    """An assistant's message without what only says again what else is in it, or in its calls."""
    if message.get("role") != "assistant":
        return message
    known = _leaving_out(_COPIES, message)
    if isinstance(calls := known.get("tool_calls"), list):
        known["tool_calls"] = [_leaving_out(_COPIES, call) if isinstance(call, dict) else call for call in calls]
        for call in known["tool_calls"]:
            if isinstance(call, dict) and isinstance(function := call.get("function"), dict):
                call["function"] = _leaving_out(_COPIES, function)
    return known


def _leaving_out(names: tuple[str, ...], given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in names}


def _without_content(param: str, *, given: bool) -> RequestError:
    if given:
        return InvalidValue(f"Invalid {param!r}: must be a string or an array of text parts, got null.", param=param)
    return MissingParameter(f"Missing required parameter {param!r}.", param=param)


def _check_part(place: str, part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    _check_count(part, MAX_FIELDS, "fields", place)
    if part.get("type") in _UNSUPPORTED_PARTS:
        raise _unsupported(f"{place}.type", f"content of type {part['type']!r}")
    return _without(_UNSUPPORTED_IN_PART, part, place)


def _without(unsupported: tuple[str, ...], given: dict[str, Any], place: str) -> dict[str, Any]:
    """`given` without the unsupported fields that ask for nothing, as in a reply that is sent back as history."""
    for name in unsupported:
        if given.get(name) not in (None, []):
            raise _unsupported(f"{place}.{name}", f"field {name!r}")
    return _leaving_out(unsupported, given)


def _unsupported(param: str, what: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"In {param}: {what} is not supported by this version, send text.", param=param)


def _translate(error: ValidationError) -> RequestError:
    telling = _most_telling(error.errors(include_url=False))
    param = _dotted(_place(telling))
    match telling["type"]:
        case "model_type" | "model_attributes_type" | "dict_type":
            return InvalidValue(f"Invalid {param!r}: must be an object, got {_kind(telling['input'])}.", param=param)
        case "extra_forbidden":
            return UnknownParameter(f"Unknown parameter {param!r}: leave it out.", param=param)
        case "missing":
            return MissingParameter(f"Missing required parameter {param!r}.", param=param)
        case "value_error":
            return InvalidValue(f"{telling['ctx']['error']}.", param=param or _first_named(telling))
        case _:
            return InvalidValue(f"Invalid {param!r}: {telling['msg']}, got {_kind(telling['input'])}.", param=param)


def _most_telling(errors: list[ErrorDetails]) -> ErrorDetails:
    """Of the first faulty field's errors, the one of the union's branch that the sender meant."""
    first = _place(errors[0])
    same_field = [error for error in errors if _place(error)[: len(first)] == first]
    deepest = max(len(error["loc"]) for error in same_field)
    candidates = [error for error in same_field if len(error["loc"]) == deepest]
    return candidates[-1 if isinstance(candidates[-1]["input"], list) else 0]


def _place(error: ErrorDetails) -> list[str | int]:
    """Where the error lies, without the names pydantic gives to the branches of a union."""
    loc = error["loc"]
    named = (part for before, part in zip((None, *loc), loc, strict=False) if before not in _UNION_FIELDS)
    return [part for part in named if part != "[key]"]


def _first_named(error: ErrorDetails) -> str | None:
    """Of fields that do not go together, the one that the message begins with."""
    word = str(error["ctx"]["error"]).partition(" ")[0]
    return word if word in ChatRequest.model_fields else None


def _dotted(place: list[str | int]) -> str:
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the string {value[:40]!r}"
        case list():
            return "an array" if value else "an empty array"
        case _:
            return "an object"
