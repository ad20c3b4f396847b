"""What a router makes of one request: where it goes, what is said of it, and that it stays what it was."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.routing.router import RoutingSettings
from pelton.pipeline.wire.contract import Route
from pelton.pipeline.wire.headers import read_envelope
from pelton.pipeline.wire.records import RequestRecord, Source
from pelton.pipeline.wire.routed import Routed
from pelton.pipeline.wire.tenants import signature
from pelton.producers.kafka.cluster import Topic
from pelton.producers.routing.outgoing import fitted
from pelton.producers.routing.router import Router, Sent

KEY = "0123456789abcdef"
POOLS = {
    "large": {"topic": "for.large", "interactive_topic": "for.large.now", "group_id": "g-large"},
    "small": {"topic": "for.small", "group_id": "g-small"},
    "next": {"topic": "for.next", "group_id": "g-next"},
}
VARIANTS = {"now": {"model": "large", "weight": 1}, "new": {"model": "small", "weight": 1}}


def router(is_behind: bool = False, default: str | None = None, kafka: dict[str, Any] | None = None, **more: Any):
    experiment = {"variants": VARIANTS, **more}
    routing = RoutingSettings(pools=POOLS, experiments={"reports": experiment}, default=default)
    return Router(KafkaSettings(**(kafka or {})), routing, lambda _: is_behind)


def request(headers: Sequence[tuple[str, bytes | None]] = (), topic: str = "inference.requests", **body: Any):
    whole = {"model": "reports", "user": "ann", "messages": [], **body}
    return RequestRecord(Source(topic, 3, 17), b"key", orjson.dumps(whole), list(headers), 1_700_000_000_000, 0)


def said(sent: Sent) -> dict[str, bytes | None]:
    return dict(sent.record.headers)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
bodies = (
    st.binary(max_size=40)
    | st.none()
    | st.builds(
        lambda model, user, more: orjson.dumps({**more, "model": model, "user": user}),
        st.sampled_from(["reports", "small", "default"]) | json_values,
        json_values,
        st.dictionaries(st.text(max_size=4), json_values, max_size=3),
    )
)
header_names = st.sampled_from(
    ["kafka_correlationId", "correlation_id", "pelton-tenant", "pelton-session", "pelton-variant", "pelton-priority"]
) | st.text(max_size=6)


@given(
    st.lists(st.tuples(header_names, st.binary(max_size=12) | st.none()), max_size=6),
    bodies,
    st.none() | st.binary(max_size=6),
    st.sampled_from(["user", "tenant", "session"]),
    st.booleans(),
)
def test_any_record_is_sent_on_once(
    headers: list[tuple[str, bytes | None]], body: bytes | None, key: bytes | None, unit: str, is_behind: bool
) -> None:
    """Whatever its bytes: one record with an id and the value of the request, and one copy at most.

    A record that a router fails on would stop its partition for good.
    """
    record = RequestRecord(Source("inference.requests", 1, 5), key, body, headers, 0, 0)
    dealer = router(is_behind, unit=unit, shadow={"model": "next", "share": 0.5}, overflow=OVERFLOW)
    sent, *copies = dealer.route(record)
    assert sent.record.value == body
    assert sent.record.key is not None or sent.record.value is not None
    assert sent.routed is None or sent.routed.route is not Route.SHADOW
    assert [copy.routed.route for copy in copies] in ([], [Route.SHADOW])
    for each in (sent, *copies):
        assert said(each).get("kafka_correlationId") or said(each).get("correlation_id")
        assert fitted(each.record, record, {each.record.topic: Topic(2, 1_000_000)}).value == body


def test_a_request_is_sent_on_as_it_came() -> None:
    """Body, key, time, partition and headers; with an id that its sender knows, and what was decided."""
    given = request([("kafka_replyTopic", b"mine"), ("twice", b"1"), ("twice", None)])
    (sent,) = router().route(given)
    record = sent.record
    assert (record.value, record.key, record.partition) == (given.value, given.key, 3)
    assert record.timestamp_ms == given.timestamp_ms
    assert list(record.headers)[:3] == given.headers
    assert said(sent)["kafka_correlationId"] == b"inference.requests-3-17"
    assert sent.routed == Routed.read({name: value or b"" for name, value in record.headers})
    assert record.topic == {"now": "for.large", "new": "for.small"}[sent.routed.variant]


def test_a_workers_border_reads_what_a_router_writes() -> None:
    (sent,) = router().route(request())
    record = sent.record
    policy = KafkaSettings().reply_policy()
    envelope = read_envelope(Source(record.topic, 0, 0), record.headers, policy, record.key, record.value)
    assert envelope.fault is None
    assert envelope.routed == sent.routed


def test_an_id_of_the_senders_own_is_kept() -> None:
    for name in ("kafka_correlationId", "correlation_id"):
        (sent,) = router().route(request([(name, b"mine")]))
        assert said(sent)[name] == b"mine"
        assert len([header for header, _ in sent.record.headers if "orrelation" in header]) == 1


def test_what_a_sender_says_of_variants_is_not_passed_on() -> None:
    """Nobody chooses a variant by a header."""
    (sent,) = router().route(request([("pelton-variant", b"reports/other"), ("pelton-unit", b"0" * 16)], model="large"))
    assert sent.routed is None
    assert not [name for name, _ in sent.record.headers if name.startswith("pelton-")]


@pytest.mark.parametrize(
    ("model", "default", "goes_to", "is_dealt"),
    [
        ("small", None, "small", False),
        ("default", None, "large", False),
        ("default", "next", "next", False),
        ("default", "reports", None, True),
        ("unheard-of", "reports", "large", False),
        ("unheard-of", None, "large", False),
        (7, None, "large", False),
    ],
    ids=["a pool", "first pool", "default pool", "default experiment", "unknown", "unknown and no default", "no text"],
)
def test_the_model_decides(model: object, default: str | None, goes_to: str | None, is_dealt: bool) -> None:
    """A model that nobody serves goes where a worker refuses it, and counts in no experiment."""
    (sent,) = router(default=default).route(request(model=model))
    assert goes_to in (None, sent.model)
    assert (sent.routed is not None) is is_dealt


@pytest.mark.parametrize("value", [None, b"", b"{", b"[1]", b"\xff"], ids=["none", "empty", "cut", "list", "no text"])
def test_what_is_no_body_goes_to_the_default(value: bytes | None) -> None:
    record = RequestRecord(Source("inference.requests", 0, 1), None, value, [], -1, 0)
    (sent,) = router().route(record)
    assert (sent.model, sent.record.value, sent.record.timestamp_ms) == ("large", value, None)
    assert sent.record.key is not None or value is not None


def variants_of(unit: str, requests: list[RequestRecord]) -> set[str]:
    dealer = router(unit=unit)
    return {sent.routed.variant for each in requests for sent in dealer.route(each)}


def test_the_unit_is_what_the_experiment_says() -> None:
    """Alike in the unit is alike in the variant, whatever else differs; in all else both variants occur."""
    users = [request(user=f"user-{number}") for number in range(40)]
    assert variants_of("user", users) == {"now", "new"}
    tenants = [request([("pelton-tenant", b"acme")], user=str(number)) for number in range(40)]
    assert len(variants_of("tenant", tenants)) == 1
    turns = [request([("pelton-session", b"talk")], user=str(number)) for number in range(40)]
    assert len(variants_of("session", turns)) == 1
    lone = [request([("kafka_correlationId", str(number).encode())], user=None) for number in range(40)]
    assert variants_of("user", lone) == {"now", "new"}


def test_interactive_requests_go_to_the_lane_of_the_pool() -> None:
    """By header or by topic; a pool without such a topic takes them where it takes all, with the header."""
    kafka = {"request_topics": ("quick", "inference.requests"), "interactive_topics": ("quick",)}
    dealer = router(kafka=kafka)
    by_header = request([("pelton-priority", b"interactive")], model="large")
    assert [sent.record.topic for sent in dealer.route(by_header)] == ["for.large.now"]
    (by_topic,) = dealer.route(request(topic="quick", model="small"))
    assert by_topic.record.topic == "for.small"
    assert said(by_topic)["pelton-priority"] == b"interactive"
    slow = request([("pelton-priority", b"batch")], topic="quick", model="large")
    assert [sent.record.topic for sent in dealer.route(slow)] == ["for.large"]


OVERFLOW = {"variant": "now", "model": "next", "above_s": 9, "below_s": 3}


def test_an_overflow_moves_requests_of_its_variant_only() -> None:
    """They keep their variant's name; sessions stay."""
    requests = [request(user=f"user-{number}") for number in range(40)]
    calm, busy = router(overflow=OVERFLOW), router(True, overflow=OVERFLOW)
    for each in requests:
        (before,), (after,) = calm.route(each), busy.route(each)
        assert before.routed.variant == after.routed.variant
        moved = after.routed.variant == "now"
        assert after.model == ("next" if moved else "small")
        assert after.routed.route is (Route.OVERFLOW if moved else Route.WEIGHT)
    turns = [request([("pelton-session", b"talk")], user=f"user-{number}") for number in range(40)]
    assert {sent.model for each in turns for sent in busy.route(each)} == {"large", "small"}


SHADOW = {"model": "next", "share": 1}


def test_a_copy_is_nobodys_request() -> None:
    """Another id, another address, no partial text, batch; and the request itself is as without it."""
    given = request(
        [("pelton-stream", b"true"), ("pelton-priority", b"interactive"), ("kafka_replyPartition", b"0000")]
    )
    sent, copy = router(shadow=SHADOW).route(given)
    (alone,) = router().route(given)
    assert sent == alone
    assert copy.record.topic == "for.next"
    assert copy.routed.route is Route.SHADOW
    assert copy.routed.unit == sent.routed.unit
    assert said(copy)["kafka_correlationId"] == b"shadow:inference.requests-3-17"
    assert said(copy)["kafka_replyTopic"] == b"inference.shadow"
    assert said(copy)["pelton-priority"] == b"batch"
    assert not {"pelton-stream", "kafka_replyPartition"} & said(copy).keys()


def test_sessions_are_not_copied_and_long_ids_stay_within_the_limit() -> None:
    dealer = router(shadow=SHADOW)
    assert len(dealer.route(request([("pelton-session", b"talk")]))) == 1
    _, copy = dealer.route(request([("kafka_correlationId", b"x" * 1_024)]))
    assert len(said(copy)["kafka_correlationId"] or b"") <= 1_024


@pytest.mark.parametrize("is_true", [True, False], ids=["true", "false"])
def test_a_tenants_signature_holds_for_what_is_sent_on(is_true: bool) -> None:
    """The id and the address are part of it: what was proven is signed anew, and a false claim stays false."""
    kafka = KafkaSettings(tenant_keys={"acme": KEY}, reply_topics_allowed=("inference.shadow",))
    plain = request([("pelton-tenant", b"acme")])
    signed = signature((KEY if is_true else "f" * 16).encode(), "request", dict(plain.headers), plain.value)
    given = request([*plain.headers, ("pelton-tenant-signature", signed)])
    routing = RoutingSettings(pools=POOLS, experiments={"reports": {"variants": VARIANTS, "shadow": SHADOW}})
    for sent in Router(kafka, routing).route(given):
        record = sent.record
        place = Source(record.topic, 0, 0)
        envelope = read_envelope(place, record.headers, kafka.reply_policy(), record.key, record.value)
        assert (envelope.fault is None) is is_true


def test_what_is_too_large_for_a_pools_topic_is_sent_on_to_be_refused() -> None:
    """With the headers that its reply needs, and the reason."""
    given = request([("kafka_correlationId", b"mine"), ("baggage", b"x" * 100)], text="x" * 2_000)
    (sent,) = router().route(given)
    fits = fitted(sent.record, given, {sent.record.topic: Topic(2, 100_000)})
    assert (fits.value, fits.partition) == (given.value, 1)
    cut = fitted(sent.record, given, {sent.record.topic: Topic(4, 2_000)})
    headers = dict(cut.headers)
    assert cut.value is None
    assert headers["kafka_correlationId"] == b"mine"
    assert b"inference.requests-3-17" in (headers["pelton-unreadable"] or b"")
