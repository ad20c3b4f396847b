"""Request headers read once, at the border.

Reading never fails: even a request whose headers lie must get its error reply, under the correlation id and at the
address its sender gave, as far as those can be trusted. What is wrong is kept in `Envelope.fault`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TypeVar

from pelton.pipeline.errors import InvalidHeader, PeltonError, ReplyTopicNotAllowed, RequestError, UnsupportedHeader
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.contract import CacheUse, Lane
from pelton.pipeline.wire.records import Headers, Source
from pelton.pipeline.wire.tenants import TenantPolicy

T = TypeVar("T")
Choice = TypeVar("Choice", bound=StrEnum)

MAX_CORRELATION_ID_BYTES = 1_024
MAX_TRACESTATE_BYTES = 4_096
"""Both go back with the reply, into a topic with a limit of its own. The standard asks for 512 bytes of a state."""

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
}
_TENANT = re.compile(contract.TENANT_PATTERN)
_SESSION = re.compile(r"[A-Za-z0-9._:@-]{1,256}")
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_DEADLINE = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Envelope:
    """All of a request but its body. `deadline_ms` is Unix milliseconds; `fault` the first header found wrong.

    `id_given` and `partition_given` say whether correlation id and reply partition are what the sender asked for, and
    not chosen here. `stream_topic` is where partial text is wanted, if it is. `id_headers` are the names under which
    the id goes back: Pelton's, and the sender's own.
    """

    source: Source
    correlation_id: bytes
    reply_topic: str
    reply_partition: int | None = None
    tenant: str = ""
    deadline_ms: int | None = None
    traceparent: bytes | None = None
    tracestate: bytes | None = None
    cache: CacheUse = CacheUse.USE
    session: str = ""
    lane: Lane = Lane.BATCH
    stream_topic: str | None = None
    id_given: bool = False
    id_headers: tuple[str, ...] = (contract.CORRELATION_ID,)
    partition_given: bool = False
    fault: PeltonError | None = None


@dataclass(frozen=True, slots=True)
class ReplyPolicy:
    """Where replies go by default, the other topics (regular expressions, whole name) a sender may ask for, what has to
    prove whose a request is, from which topics requests are interactive unless they say otherwise, and where partial
    text goes, if anywhere.
    """

    default_topic: str
    allowed: tuple[re.Pattern[str], ...] = ()
    tenants: TenantPolicy = field(default_factory=TenantPolicy)
    interactive_topics: frozenset[str] = frozenset()
    stream_topic: str | None = None

    def allows(self, topic: str) -> bool:
        """Kafka's own topics are never written to, whatever the patterns say."""
        if topic.startswith("__"):
            return False
        return topic == self.default_topic or any(pattern.fullmatch(topic) for pattern in self.allowed)

    def lane_of(self, topic: str) -> Lane:
        return Lane.INTERACTIVE if topic in self.interactive_topics else Lane.BATCH


def read_envelope(
    source: Source, headers: Headers, policy: ReplyPolicy, key: bytes | None = None, value: bytes | None = None
) -> Envelope:
    """Read the headers of a request whose record has that `key` and `value`.

    Of a repeated header the last counts, as in Spring. A null value is no value.
    """
    last = {name: value for name, value in dict(headers).items() if value is not None}
    faults: list[RequestError] = []

    def read(name: str, parse: Callable[[bytes], T], otherwise: T) -> T:
        if name not in last:
            return otherwise
        try:
            return parse(last[name])
        except RequestError as error:
            faults.append(error)
            return otherwise

    topic = read(contract.REPLY_TOPIC, lambda raw: _reply_topic(raw, policy), policy.default_topic)
    partition = read(contract.REPLY_PARTITION, _reply_partition, None)
    claimed = read(contract.TENANT, _tenant, "")
    session = read(contract.SESSION, lambda raw: _session(raw, key), "")
    deadline_ms = read(contract.DEADLINE, _deadline, None)
    cache = read(contract.CACHE, partial(_one_of, contract.CACHE, CacheUse), CacheUse.USE)
    lane = read(contract.PRIORITY, partial(_one_of, contract.PRIORITY, Lane), policy.lane_of(source.topic))
    stream_topic = read(contract.STREAM, lambda raw: _stream_topic(raw, policy), None)
    given = correlation_id(last)
    if given is not None and len(given) > MAX_CORRELATION_ID_BYTES:
        faults.append(_long_id(given))
        given = None
    faults.extend(_foreign(dict(headers)))
    tenant = ""
    try:
        tenant = policy.tenants.tenant_of_request(source.topic, claimed, last, value)
    except RequestError as error:
        faults.append(error)
    if faults and faults[0].param == contract.REPLY_TOPIC:
        partition = None  # it belonged to a topic that is not used
    return Envelope(
        source=source,
        correlation_id=given or str(source).encode(),
        reply_topic=topic,
        reply_partition=partition,
        tenant=tenant,
        deadline_ms=deadline_ms,
        traceparent=last.get(contract.TRACEPARENT),
        tracestate=_tracestate(last.get(contract.TRACESTATE)),
        cache=cache,
        session=session,
        lane=lane,
        stream_topic=stream_topic,
        id_given=given is not None,
        id_headers=_id_headers(last),
        partition_given=partition is not None,
        fault=faults[0] if faults else None,
    )


def correlation_id(headers: Mapping[str, bytes]) -> bytes | None:
    """The sender's own id, under either of its names; None where there is none."""
    return headers.get(contract.CORRELATION_ID) or headers.get(contract.CORRELATION_ID_ALIAS) or None


def _id_headers(headers: Mapping[str, bytes]) -> tuple[str, ...]:
    alias = contract.CORRELATION_ID_ALIAS
    return (contract.CORRELATION_ID, alias) if headers.get(alias) else (contract.CORRELATION_ID,)


def _long_id(given: bytes) -> InvalidHeader:
    return InvalidHeader(
        f"Header {contract.CORRELATION_ID} has {len(given):,} bytes, at most {MAX_CORRELATION_ID_BYTES:,} are "
        "sent back: this reply has the request's place for an id.",
        param=contract.CORRELATION_ID,
    )


def _tracestate(raw: bytes | None) -> bytes | None:
    """One that is too long is not continued, as the standard allows."""
    return None if raw is None or len(raw) > MAX_TRACESTATE_BYTES else raw


def _reply_topic(raw: bytes, policy: ReplyPolicy) -> str:
    topic = _text(contract.REPLY_TOPIC, raw)
    if not _TOPIC.fullmatch(topic):
        raise InvalidHeader(
            f"Header {contract.REPLY_TOPIC} must be the name of a Kafka topic, got {topic[:64]!r}.",
            param=contract.REPLY_TOPIC,
        )
    if not policy.allows(topic):
        raise ReplyTopicNotAllowed(
            f"Replies to topic {topic!r} are not allowed here: use {policy.default_topic!r}, "
            "or have the operator add a pattern for it to kafka.reply_topics_allowed.",
            param=contract.REPLY_TOPIC,
        )
    return topic


def _reply_partition(raw: bytes) -> int:
    value = int.from_bytes(raw, "big", signed=True)
    if len(raw) != INT32_BYTES or value < 0:
        raise InvalidHeader(
            f"Header {contract.REPLY_PARTITION} must be a partition as {INT32_BYTES} big-endian bytes "
            f"(as Spring writes it), got {raw[:16]!r}.",
            param=contract.REPLY_PARTITION,
        )
    return value


def _tenant(raw: bytes) -> str:
    tenant = _text(contract.TENANT, raw)
    if not _TENANT.fullmatch(tenant):
        raise InvalidHeader(
            f"Header {contract.TENANT} must be 1 to 128 letters, digits or any of . _ : @ -, got {tenant[:64]!r}.",
            param=contract.TENANT,
        )
    return tenant


def _session(raw: bytes, key: bytes | None) -> str:
    session = _text(contract.SESSION, raw)
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


def _stream_topic(raw: bytes, policy: ReplyPolicy) -> str | None:
    wanted = _text(contract.STREAM, raw)
    if policy.stream_topic is None:
        message = f"Header {contract.STREAM} is not supported by this worker, which has no kafka.stream_topic."
        raise UnsupportedHeader(message, param=contract.STREAM)
    if wanted not in ("true", policy.stream_topic):
        raise InvalidHeader(
            f"Header {contract.STREAM} must be true or {policy.stream_topic}, got {wanted[:64]!r}.",
            param=contract.STREAM,
        )
    return policy.stream_topic


def _deadline(raw: bytes) -> int:
    text = _text(contract.DEADLINE, raw)
    if not _DEADLINE.fullmatch(text):
        raise InvalidHeader(
            f"Header {contract.DEADLINE} must be Unix time in milliseconds, at most 19 digits, got {text[:32]!r}.",
            param=contract.DEADLINE,
        )
    return int(text)


def _one_of(name: str, choices: type[Choice], raw: bytes) -> Choice:
    text = _text(name, raw)
    try:
        return choices(text)
    except ValueError:
        message = f"Header {name} must be {', '.join(choices)}, got {text[:32]!r}."
        raise InvalidHeader(message, param=name) from None


def _text(name: str, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidHeader(f"Header {name} must be UTF-8: {error}.", param=name) from None


def _foreign(names: Iterable[str]) -> list[RequestError]:
    """The first header of our own prefix that means nothing here: a silent typo would be a promise not kept."""
    for name in names:
        if name.lower().startswith(contract.OWN_PREFIX) and name not in _REQUEST_HEADERS:
            known = ", ".join(sorted(_REQUEST_HEADERS))
            message = f"Header {name[:64]} is unknown: Pelton's request headers are {known}."
            return [InvalidHeader(message, param=name)]
    return []
