"""Where one request goes, decided once: the record that is sent on says it, and nobody who reads it decides anew.

A request is sent on as it came, body, key and time included. It gets an id where it had none, since its reply names its
own place and not the one its sender knows; and what the router has decided. What is wrong with it is for the worker to
refuse: there is one place that does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

import orjson

from pelton.pipeline.errors import TenantNotProven
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.routing.experiments import Experiment
from pelton.pipeline.settings.routing.router import Pool, RoutingSettings
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.contract import Lane, Route
from pelton.pipeline.wire.headers import MAX_CORRELATION_ID_BYTES, correlation_id
from pelton.pipeline.wire.records import OutgoingRecord, RequestRecord
from pelton.pipeline.wire.routed import Routed
from pelton.producers.routing.assignment import assigned, is_shadowed, unit_hash

SHADOW_ID = b"shadow:"
_OURS = {contract.VARIANT, contract.ROUTE, contract.UNIT}
_NOT_COPIED = {contract.REPLY_TOPIC, contract.REPLY_PARTITION, contract.STREAM, contract.PRIORITY}

_Headers = list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Sent:
    """A record to send on. `routed` is None for a request that named a model and no experiment."""

    record: OutgoingRecord
    model: str
    routed: Routed | None = None


@dataclass(frozen=True, slots=True)
class _Request:
    """What decides: `own` are the request's headers without what a router would have said, `headers` the last of each
    name that has a value.
    """

    record: RequestRecord
    own: _Headers
    headers: Mapping[str, bytes]
    body: Mapping[str, object]
    identity: bytes

    def text(self, name: str) -> str:
        return self.headers.get(name, b"").decode("utf-8", "replace")


class Router:
    """Decides; sends nothing. `is_behind` says of an experiment whether its overflow is on."""

    def __init__(
        self, kafka: KafkaSettings, routing: RoutingSettings, is_behind: Callable[[str], bool] = lambda _: False
    ) -> None:
        """Raises `ValueError` where there is no pool."""
        if not routing.pools:
            raise ValueError("routing.pools is empty: name at least one pool of workers")
        self._routing = routing
        self._interactive = frozenset(kafka.interactive_topics)
        self._tenants = kafka.tenant_policy()
        self._is_behind = is_behind
        self._default = routing.default or next(iter(routing.pools))

    def route(self, record: RequestRecord) -> list[Sent]:
        """The request on its way to a pool, and perhaps a copy of it."""
        request = _read(record)
        name, known = self._target(request)
        experiment = self._routing.experiments.get(name)
        if experiment is None:
            return [self._sent(request, name, None)]
        if not known:  # nobody serves that model: any worker may say so
            return [self._sent(request, next(iter(experiment.variants.values())).model, None)]
        unit = _unit(experiment, request)
        variant = assigned(name, experiment.salt, experiment.weights, unit)
        named = Routed(name, variant, Route.WEIGHT, unit_hash(name, experiment.salt, unit))
        chosen = [self._chosen(request, experiment, named)]
        if (copy := self._copy(request, experiment, named, unit)) is not None:
            chosen.append(copy)
        return chosen

    def _target(self, request: _Request) -> tuple[str, bool]:
        """The pool or experiment that is asked for, and whether it is one; else the default."""
        model = request.body.get("model")
        if isinstance(model, str) and (model in self._routing.experiments or model in self._routing.pools):
            return model, True
        return self._default, model in ("default", None)

    def _chosen(self, request: _Request, experiment: Experiment, named: Routed) -> Sent:
        """Sessions stay where they are: their turns are answered in the order of one partition."""
        overflow = experiment.overflow
        if (
            overflow is not None
            and overflow.variant == named.variant
            and contract.SESSION not in request.headers
            and self._is_behind(named.experiment)
        ):
            return self._sent(request, overflow.model, replace(named, route=Route.OVERFLOW))
        return self._sent(request, experiment.variants[named.variant].model, named)

    def _sent(self, request: _Request, model: str, routed: Routed | None) -> Sent:
        pool, headers = self._routing.pools[model], list(request.own)
        lane = self._lane(request)
        if lane is Lane.INTERACTIVE and contract.PRIORITY not in request.headers:
            headers.append((contract.PRIORITY, lane.encode()))
        if correlation_id(request.headers) is None:
            headers = self._with_id(request, headers, request.identity)
        return Sent(_outgoing(request, _topic(pool, lane), headers, routed), model, routed)

    def _copy(self, request: _Request, experiment: Experiment, named: Routed, unit: str) -> Sent | None:
        """For the shadow: in the batch lane, under another id, answered to another topic. None for a request that is
        not copied, one of a session among them, as a copy would be one more turn of it.
        """
        shadow = experiment.shadow
        if (
            shadow is None
            or contract.SESSION in request.headers
            or not is_shadowed(named.experiment, experiment.salt, shadow.share, unit)
        ):
            return None
        kept = [(name, value) for name, value in request.own if name not in _NOT_COPIED]
        kept.append((contract.REPLY_TOPIC, self._routing.shadow_topic.encode()))
        kept.append((contract.PRIORITY, Lane.BATCH.encode()))
        headers = self._with_id(request, kept, _shadow_id(request.identity))
        routed = replace(named, variant=shadow.model, route=Route.SHADOW)
        pool = self._routing.pools[shadow.model]
        return Sent(_outgoing(request, _topic(pool, Lane.BATCH), headers, routed), shadow.model, routed)

    def _with_id(self, request: _Request, headers: _Headers, identity: bytes) -> _Headers:
        """What a tenant has signed is signed anew: the id and the address are part of it. A false claim stays one."""
        names = {contract.CORRELATION_ID, contract.CORRELATION_ID_ALIAS}
        named = [*((name, value) for name, value in headers if name not in names), (contract.CORRELATION_ID, identity)]
        if contract.TENANT_SIGNATURE not in request.headers:
            return named
        try:
            self._tenants.check("request", request.text(contract.TENANT), request.headers, request.record.value)
        except TenantNotProven:
            return named
        return self._tenants.signed("request", named, request.record.value)

    def _lane(self, request: _Request) -> Lane:
        said = request.text(contract.PRIORITY)
        if said:
            return Lane.INTERACTIVE if said == Lane.INTERACTIVE else Lane.BATCH
        return Lane.INTERACTIVE if request.record.source.topic in self._interactive else Lane.BATCH


def _read(record: RequestRecord) -> _Request:
    own = [(name, value) for name, value in record.headers if name not in _OURS]
    headers = {name: value for name, value in dict(own).items() if value is not None}
    identity = correlation_id(headers) or str(record.source).encode()
    return _Request(record, own, headers, _body(record.value), identity)


def _body(value: bytes | None) -> Mapping[str, object]:
    """Empty for what is no JSON object: the worker says so."""
    try:
        parsed = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _unit(experiment: Experiment, request: _Request) -> str:
    if experiment.unit == "user":
        user = request.body.get("user")
        named = user if isinstance(user, str) else ""
    else:
        named = request.text(contract.TENANT if experiment.unit == "tenant" else contract.SESSION)
    return named or f"request {request.identity.hex()}"


def _topic(pool: Pool, lane: Lane) -> str:
    return pool.interactive_topic or pool.topic if lane is Lane.INTERACTIVE else pool.topic


def _outgoing(request: _Request, topic: str, headers: _Headers, routed: Routed | None) -> OutgoingRecord:
    """The partition keeps its number: what was in order stays so, a session's turns above all."""
    record, said = request.record, [] if routed is None else routed.headers()
    key = request.identity if record.key is None and record.value is None else record.key  # aiokafka wants one of them
    timestamp_ms = record.timestamp_ms if record.timestamp_ms > 0 else None
    return OutgoingRecord(
        topic, record.value, key, [*headers, *said], record.source.partition, timestamp_ms=timestamp_ms
    )


def _shadow_id(identity: bytes) -> bytes:
    """As long as an id may be."""
    whole = SHADOW_ID + identity
    return whole if len(whole) <= MAX_CORRELATION_ID_BYTES else SHADOW_ID + sha256(identity).hexdigest().encode()
