"""Request headers read once, at the border.

Reading never fails: even a request whose headers lie must get its error reply, under the correlation id and at the
address its sender gave, as far as those can be trusted. What is wrong is kept in `Envelope.fault`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from pelton.pipeline.errors import InvalidHeader, PeltonError, RequestError
from pelton.pipeline.wire import contract, header_values
from pelton.pipeline.wire.contract import CacheUse, Lane, TruncationPolicy
from pelton.pipeline.wire.header_values import Choice
from pelton.pipeline.wire.records import Headers, Source
from pelton.pipeline.wire.routed import Routed
from pelton.pipeline.wire.tenants import TenantPolicy

T = TypeVar("T")

MAX_CORRELATION_ID_BYTES = 1_024
MAX_TRACESTATE_BYTES = 4_096
"""Both go back with the reply, into a topic with a limit of its own. The standard asks for 512 bytes of a state."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """All of a request but its body. `deadline_ms` is Unix milliseconds; `fault` the first header found wrong.

    `id_given` and `partition_given` say whether correlation id and reply partition are what the sender asked for, and
    not chosen here. `stream_topic` is where partial text is wanted, if it is. `id_headers` are the names under which
    the id goes back: Pelton's, and the sender's own. `routed` is what a router has said, None where none has.
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
    truncation: TruncationPolicy | None = None
    id_given: bool = False
    id_headers: tuple[str, ...] = (contract.CORRELATION_ID,)
    partition_given: bool = False
    routed: Routed | None = None
    fault: PeltonError | None = None

    @property
    def has_address(self) -> bool:
        """Whether its partition was chosen here, among those that there are: no more is to be asked of anybody."""
        return self.reply_partition is not None and not self.partition_given


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

    def reply_topic(self, raw: bytes) -> str:
        """The topic that a header asks for. Raises `InvalidHeader` or `ReplyTopicNotAllowed`."""
        return header_values.reply_topic(raw, self.default_topic, self.allows)

    def lane_of(self, topic: str) -> Lane:
        return Lane.INTERACTIVE if topic in self.interactive_topics else Lane.BATCH


def read_envelope(  # noqa: PLR0913, PLR0917  # a record's parts, and what is believed of them
    source: Source,
    headers: Headers,
    policy: ReplyPolicy,
    key: bytes | None = None,
    value: bytes | None = None,
    default_partition: int | None = None,
) -> Envelope:
    """Read the headers of a request whose record has that `key` and `value`.

    Of a repeated header the last counts, as in Spring. A null value is no value. `default_partition` of the default
    topic, where it is known, is where the reply goes that is asked for nowhere else.
    """
    given_last = dict(headers)
    last = {name: value for name, value in given_last.items() if value is not None}
    read = _Reader(last)
    topic = read(contract.REPLY_TOPIC, policy.reply_topic, policy.default_topic)
    partition = read(contract.REPLY_PARTITION, header_values.reply_partition, None)
    claimed = read(contract.TENANT, header_values.tenant, "")
    session = read(contract.SESSION, lambda raw: header_values.session(raw, key), "")
    deadline_ms = read(contract.DEADLINE, header_values.deadline, None)
    cache = read.one_of(contract.CACHE, CacheUse.USE)
    lane = read.one_of(contract.PRIORITY, policy.lane_of(source.topic))
    stream_topic = read(contract.STREAM, lambda raw: header_values.stream_topic(raw, policy.stream_topic), None)
    routed = read(contract.VARIANT, lambda _: Routed.read(last), None)
    truncation = read(contract.TRUNCATION, partial(header_values.one_of, contract.TRUNCATION, TruncationPolicy), None)
    given = read.faultless(lambda: _bounded(correlation_id(last)), None)
    read.faults.extend(header_values.unknown_names(given_last))
    tenant = read.faultless(lambda: policy.tenants.tenant_of_request(source.topic, claimed, last, value), "")
    if read.faults and read.faults[0].param == contract.REPLY_TOPIC:
        partition = None  # it belonged to a topic that is not used
    usual = default_partition if topic == policy.default_topic else None
    return Envelope(
        source=source,
        correlation_id=given or str(source).encode(),
        reply_topic=topic,
        reply_partition=usual if partition is None else partition,
        tenant=tenant,
        deadline_ms=deadline_ms,
        traceparent=last.get(contract.TRACEPARENT),
        tracestate=_tracestate(last.get(contract.TRACESTATE)),
        cache=cache,
        session=session,
        lane=lane,
        stream_topic=stream_topic,
        truncation=truncation,
        id_given=given is not None,
        id_headers=_id_headers(last),
        partition_given=partition is not None,
        routed=routed,
        fault=read.faults[0] if read.faults else None,
    )


class _Reader:
    """Reads headers by name, and keeps the faults that it finds, in their order."""

    def __init__(self, headers: Mapping[str, bytes]) -> None:
        self._headers = headers
        self.faults: list[RequestError] = []

    def __call__(self, name: str, parse: Callable[[bytes], T], otherwise: T) -> T:
        """The value of a header; `otherwise` where it is missing or wrong."""
        if name not in self._headers:
            return otherwise
        return self.faultless(lambda: parse(self._headers[name]), otherwise)

    def one_of(self, name: str, otherwise: Choice) -> Choice:
        """The value of a header that names one of the kind of `otherwise`."""
        if name not in self._headers:
            return otherwise
        return self(name, partial(header_values.one_of, name, type(otherwise)), otherwise)

    def faultless(self, make: Callable[[], T], otherwise: T) -> T:
        try:
            return make()
        except RequestError as error:
            self.faults.append(error)
            return otherwise


def correlation_id(headers: Mapping[str, bytes]) -> bytes | None:
    """The sender's own id, under either of its names; None where there is none."""
    return headers.get(contract.CORRELATION_ID) or headers.get(contract.CORRELATION_ID_ALIAS) or None


def _id_headers(headers: Mapping[str, bytes]) -> tuple[str, ...]:
    alias = contract.CORRELATION_ID_ALIAS
    return (contract.CORRELATION_ID, alias) if headers.get(alias) else (contract.CORRELATION_ID,)


def _bounded(given: bytes | None) -> bytes | None:
    """Raises InvalidHeader for an id that is too long to go back."""
    if given is not None and len(given) > MAX_CORRELATION_ID_BYTES:
        raise InvalidHeader(
            f"Header {contract.CORRELATION_ID} has {len(given):,} bytes, at most {MAX_CORRELATION_ID_BYTES:,} are "
            "sent back: this reply has the request's place for an id.",
            param=contract.CORRELATION_ID,
        )
    return given


def _tracestate(raw: bytes | None) -> bytes | None:
    """One that is too long is not continued, as the standard allows."""
    return None if raw is None or len(raw) > MAX_TRACESTATE_BYTES else raw
