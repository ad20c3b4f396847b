"""The values of request headers, each read from its bytes. All raise the `RequestError` that names the header."""

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TypeVar

from pelton.pipeline.errors import InvalidHeader, ReplyTopicNotAllowed, RequestError, UnsupportedHeader
from pelton.pipeline.wire import contract

Choice = TypeVar("Choice", bound=StrEnum)

INT32_BYTES = 4
"""Spring writes the reply partition as a big-endian 32-bit integer."""

_REQUEST_HEADERS = {
    contract.TENANT,
    contract.TENANT_SIGNATURE,
    contract.PRIORITY,
    contract.DEADLINE,
    contract.CACHE,
    contract.SESSION,
    contract.STREAM,
    contract.TRUNCATION,
}
_KNOWN = _REQUEST_HEADERS | {contract.VARIANT, contract.ROUTE, contract.UNIT}
"""The last three are not a sender's to write."""
_TENANT = re.compile(contract.TENANT_PATTERN)
_SESSION = re.compile(r"[A-Za-z0-9._:@-]{1,256}")
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_DEADLINE = re.compile(r"[0-9]{1,19}")


def reply_topic(raw: bytes, default: str, allows: Callable[[str], bool]) -> str:
    topic = text_of(contract.REPLY_TOPIC, raw)
    if not _TOPIC.fullmatch(topic):
        raise InvalidHeader(
            f"Header {contract.REPLY_TOPIC} must be the name of a Kafka topic, got {topic[:64]!r}.",
            param=contract.REPLY_TOPIC,
        )
    if not allows(topic):
        raise ReplyTopicNotAllowed(
            f"Replies to topic {topic!r} are not allowed here: use {default!r}, "
            "or have the operator add a pattern for it to kafka.reply_topics_allowed.",
            param=contract.REPLY_TOPIC,
        )
    return topic


def reply_partition(raw: bytes) -> int:
    value = int.from_bytes(raw, "big", signed=True)
    if len(raw) != INT32_BYTES or value < 0:
        raise InvalidHeader(
            f"Header {contract.REPLY_PARTITION} must be a partition as {INT32_BYTES} big-endian bytes "
            f"(as Spring writes it), got {raw[:16]!r}.",
            param=contract.REPLY_PARTITION,
        )
    return value


def tenant(raw: bytes) -> str:
    tenant = text_of(contract.TENANT, raw)
    if not _TENANT.fullmatch(tenant):
        raise InvalidHeader(
            f"Header {contract.TENANT} must be 1 to 128 letters, digits or any of . _ : @ -, got {tenant[:64]!r}.",
            param=contract.TENANT,
        )
    return tenant


def session(raw: bytes, key: bytes | None) -> str:
    session = text_of(contract.SESSION, raw)
    if not _SESSION.fullmatch(session):
        raise InvalidHeader(
            f"Header {contract.SESSION} must be 1 to 256 letters, digits or any of . _ : @ -, got {session[:64]!r}.",
            param=contract.SESSION,
        )
    if key != raw:  # Kafka keeps the order of a partition, and the key decides which one it is
        raise InvalidHeader(
            f"A record of session {session[:64]!r} must have that as its key, so that the session's records stay in "
            f"order; its key is {None if key is None else key[:64]!r}.",
            param=contract.SESSION,
        )
    return session


def stream_topic(raw: bytes, served: str | None) -> str:
    wanted = text_of(contract.STREAM, raw)
    if served is None:
        message = f"Header {contract.STREAM} is not supported by this worker, which has no kafka.stream_topic."
        raise UnsupportedHeader(message, param=contract.STREAM)
    if wanted not in ("true", served):
        raise InvalidHeader(
            f"Header {contract.STREAM} must be true or {served}, got {wanted[:64]!r}.",
            param=contract.STREAM,
        )
    return served


def deadline(raw: bytes) -> int:
    text = text_of(contract.DEADLINE, raw)
    if not _DEADLINE.fullmatch(text):
        raise InvalidHeader(
            f"Header {contract.DEADLINE} must be Unix time in milliseconds, at most 19 digits, got {text[:32]!r}.",
            param=contract.DEADLINE,
        )
    return int(text)


def one_of(name: str, choices: type[Choice], raw: bytes) -> Choice:
    text = text_of(name, raw)
    try:
        return choices(text)
    except ValueError:
        message = f"Header {name} must be {', '.join(choices)}, got {text[:32]!r}."
        raise InvalidHeader(message, param=name) from None


def text_of(name: str, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidHeader(f"Header {name} must be UTF-8: {error}.", param=name) from None


def unknown_names(names: Iterable[str]) -> list[RequestError]:
    """The first header of our own prefix that means nothing here: a silent typo would be a promise not kept."""
    for name in names:
        if name not in _KNOWN and name.lower().startswith(contract.OWN_PREFIX):
            known = ", ".join(sorted(_REQUEST_HEADERS))
            message = f"Header {name[:64]} is unknown: Pelton's request headers are {known}."
            return [InvalidHeader(message, param=name)]
    return []
