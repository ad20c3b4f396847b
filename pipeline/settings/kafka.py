"""Settings of Kafka: brokers, topics, the group, tenants, security."""

import re
import ssl
from typing import Annotated, Any, Literal, Self

from pydantic import Field, FilePath, SecretStr, field_validator, model_validator

from pelton.pipeline.settings.section import Positive, Secret, Section, Strings
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.headers import ReplyPolicy
from pelton.pipeline.wire.tenants import TenantPolicy


class KafkaSettings(Section):
    """The broker, the topics and the group. The security options go to every client as they are."""

    bootstrap_servers: str = "127.0.0.1:9092"
    """Brokers to start from, as `host:port`, separated by commas."""
    group_id: str = "pelton"
    """The workers' consumer group; part of every transactional id."""
    request_topics: Annotated[Strings, Field(min_length=1)] = (contract.REQUESTS_TOPIC,)
    """Topics that workers read. Clients send to the first."""
    reply_topic: str = contract.REPLIES_TOPIC
    """Where replies go whose request names no topic."""
    reply_topics_allowed: Strings = (re.escape(contract.REPORT_REPLIES_TOPIC),)
    """Regular expressions for the other topics a sender may name in `kafka_replyTopic`."""
    create_topics: bool = False
    """Create the topics that are missing when a worker starts."""
    partitions: Positive = 12
    """Partitions of a topic that a worker or `pelton up` creates."""
    replication_factor: Positive = 1
    """Copies of a topic that a worker or `pelton up` creates."""
    session_timeout_ms: Positive = 45_000
    """A dead worker's partitions move to others after this long."""
    request_timeout_ms: Positive = 10_000
    """How long a Kafka client waits for a broker's answer."""
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    """Exactly once needs transactions (Kafka 4.0 or newer); at least once repeats answers after a crash."""
    transaction_timeout_ms: Positive = 10_000
    """A dead worker's open transaction holds up `read_committed` readers for at most about this long."""
    suspects_topic: str = "inference.suspects"
    """Compacted, one partition: remembers which requests were in the engine of a worker that died."""
    group_secret: Secret | None = None
    """Known to the group's workers and operators and to nobody else: suspicions, and the notes of replayed dead
    letters, are signed with it, and what is not is ignored. Unset, the broker must let nobody else write there."""
    cancels_topic: str = contract.CANCELS_TOPIC
    """Senders take requests back there; every worker reads all of it."""
    stream_topic: str | None = None
    """Where partial text goes of requests with the header `pelton-stream`, before their replies are committed. Unset,
    the header is refused."""
    tenant_topics: dict[str, str] = Field(default={})
    """Tenants by request topic: what comes from there is theirs, and nobody else can claim to be them."""
    tenant_keys: dict[str, Secret] = Field(default={})
    """Secrets by tenant: a request that names a tenant must be signed with its key; clients that have the key sign."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How clients connect to the brokers."""
    ssl_cafile: FilePath | None = None
    """Certificates that the brokers' are checked against; unset: the system's."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """How clients log in, where the protocol is `SASL_...`."""
    sasl_username: str | None = None
    """Who logs in."""
    sasl_password: SecretStr | None = None
    """Better given as the variable `PELTON_KAFKA__SASL_PASSWORD`."""

    @field_validator("reply_topics_allowed")
    @classmethod
    def _compiles(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return patterns

    def reply_policy(self) -> ReplyPolicy:
        """Where replies may go, and what proves whose a request is."""
        allowed = tuple(map(re.compile, self.reply_topics_allowed))
        return ReplyPolicy(self.reply_topic, allowed, self.tenant_policy(), self.stream_topic)

    def tenant_policy(self) -> TenantPolicy:
        """What binds tenants to topics and keys."""
        keys = {tenant: key.get_secret_value().encode() for tenant, key in self.tenant_keys.items()}
        return TenantPolicy(dict(self.tenant_topics), keys)

    @model_validator(mode="after")
    def _tenants_fit(self) -> Self:
        if strays := sorted(self.tenant_topics.keys() - set(self.request_topics)):
            raise ValueError(f"tenant_topics names {strays[0]!r}, which is none of request_topics")
        for tenant in (*self.tenant_topics.values(), *self.tenant_keys):
            if not re.fullmatch(contract.TENANT_PATTERN, tenant):
                raise ValueError(f"{tenant!r} cannot be a tenant: 1 to 128 letters, digits or any of . _ : @ -")
        return self

    @model_validator(mode="after")
    def _sasl_has_a_user(self) -> Self:
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            raise ValueError(f"security_protocol {self.security_protocol} needs sasl_username and sasl_password")
        return self

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments that every aiokafka client takes."""
        encrypted = self.security_protocol.endswith("SSL")
        return {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": self.security_protocol,
            "ssl_context": ssl.create_default_context(cafile=self.ssl_cafile) if encrypted else None,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password and self.sasl_password.get_secret_value(),
            "request_timeout_ms": self.request_timeout_ms,
        }
