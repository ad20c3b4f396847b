"""Whose a request is: believed as far as nothing binds it, and proven by topic or by key where something does."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire.headers import Envelope, ReplyPolicy, read_envelope
from pelton.pipeline.wire.records import Source
from pelton.pipeline.wire.tenants import TenantPolicy, signature

KEY, OTHER = b"the key of acme!", b"the key of bolt!"
BODY = b'{"model": "default"}'
NAMES = {
    "kafka_correlationId": b"\x00id",
    "pelton-tenant": b"acme",
    "pelton-session": b"chat-7",
    "kafka_replyTopic": b"replies",
}


def read(policy: TenantPolicy, headers: dict[str, bytes], topic: str = "requests", value: bytes = BODY) -> Envelope:
    policies = ReplyPolicy("replies", tenants=policy)
    return read_envelope(Source(topic, 0, 1), list(headers.items()), policies, headers.get("pelton-session"), value)


def outcome(envelope: Envelope) -> tuple[str, str | None]:
    """Tenant and error code."""
    return envelope.tenant, envelope.fault.code if envelope.fault else None


def signed(key: bytes, headers: dict[str, bytes], value: bytes = BODY) -> dict[str, bytes]:
    return headers | {"pelton-tenant-signature": signature(key, "request", headers, value)}


def test_by_default_the_header_is_believed() -> None:
    """A single-tenant installation has nothing to set; who signs all the same is not refused for it."""
    assert outcome(read(TenantPolicy(), NAMES)) == ("acme", None)
    assert outcome(read(TenantPolicy(), signed(KEY, NAMES))) == ("acme", None)


def test_a_topic_says_whose_it_is() -> None:
    """With or without the header; another's name there is refused, and so is its tenant's name elsewhere."""
    policy = TenantPolicy(by_topic={"requests.acme": "acme"})
    nameless = {name: value for name, value in NAMES.items() if name != "pelton-tenant"}
    assert outcome(read(policy, NAMES, "requests.acme")) == ("acme", None)
    assert outcome(read(policy, nameless, "requests.acme")) == ("acme", None)
    assert outcome(read(policy, NAMES | {"pelton-tenant": b"bolt"}, "requests.acme")) == ("", "tenant_not_proven")
    assert outcome(read(policy, NAMES, "requests")) == ("", "tenant_not_proven")
    assert outcome(read(policy, NAMES | {"pelton-tenant": b"bolt"}, "requests")) == ("bolt", None)
    assert outcome(read(policy, nameless, "requests")) == ("", None)


def test_a_key_proves_a_tenant() -> None:
    """A request that names one and has no right signature is refused and counted as nobody's; none needs none."""
    policy = TenantPolicy(keys={"acme": KEY, "bolt": OTHER})
    assert outcome(read(policy, signed(KEY, NAMES))) == ("acme", None)
    for headers in (NAMES, signed(OTHER, NAMES), signed(KEY, NAMES) | {"pelton-tenant": b"bolt"}):
        assert outcome(read(policy, headers)) == ("", "tenant_not_proven")
    assert outcome(read(policy, signed(KEY, NAMES | {"pelton-tenant": b"unknown"}))) == ("", "tenant_not_proven")
    assert outcome(read(policy, {"kafka_correlationId": b"id"})) == ("", None)


@pytest.mark.parametrize("name", NAMES)
def test_a_signature_is_of_one_request(name: str) -> None:
    """Under another id, session, tenant, reply topic or body it proves nothing."""
    policy = TenantPolicy(keys={"acme": KEY, "acme2": KEY})
    good = signed(KEY, NAMES)
    assert read(policy, good).fault is None
    altered = good | {name: NAMES[name] + b"2"}
    assert (read(policy, altered).fault or AssertionError()).args
    assert outcome(read(policy, good, value=BODY + b" "))[1] == "tenant_not_proven"


def test_a_signature_is_easily_made_in_any_language() -> None:
    """The six lines that SECURITY.md describes."""
    lines = f"request\nacme\nchat-7\n006964\nreplies\n{hashlib.sha256(BODY).hexdigest()}"
    assert signature(KEY, "request", NAMES, BODY).decode() == hmac.new(KEY, lines.encode(), "sha256").hexdigest()


HEADERS = st.dictionaries(st.sampled_from([*NAMES, "pelton-tenant-signature"]), st.binary(max_size=80))


@given(HEADERS, st.none() | st.binary())
def test_nothing_but_a_signature_proves_a_tenant(headers: dict[str, bytes], value: bytes | None) -> None:
    """Whatever the headers hold: no exception, and no tenant."""
    policy = TenantPolicy(by_topic={"requests.acme": "acme"}, keys={"bolt": OTHER})
    envelope = read_envelope(
        Source("requests", 0, 1), list(headers.items()), ReplyPolicy("r", tenants=policy), None, value
    )
    assert envelope.tenant == ""


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"tenant_topics": {"requests.acme": "acme"}}, "none of request_topics"),
        ({"tenant_topics": {"inference.requests": "a b"}}, "cannot be a tenant"),
        ({"tenant_keys": {"a/b": "0123456789abcdef"}}, "cannot be a tenant"),
        ({"tenant_keys": {"acme": "short"}}, "at least 16"),
        ({"group_secret": "short"}, "at least 16"),
    ],
)
def test_settings_that_would_bind_nothing_are_refused(settings: dict[str, object], told: str) -> None:
    """And no key is shown, whatever is printed."""
    with pytest.raises(ValidationError, match=told):
        KafkaSettings(**settings)
    kafka = KafkaSettings(tenant_keys={"acme": "0123456789abcdef"})
    assert "0123456789abcdef" not in repr(kafka)
    assert kafka.tenant_policy().keys == {"acme": b"0123456789abcdef"}
