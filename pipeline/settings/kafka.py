"""Settings of Kafka: brokers, topics, the group, tenants, security."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, FilePath, SecretStr, field_validator, model_validator

from pelton.pipeline.settings.kafka_security import TlsFiles, TokenFile, TokenUnusable
from pelton.pipeline.settings.section import Positive, Secret, Section, Strings, Topic, Topics
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.headers import ReplyPolicy
from pelton.pipeline.wire.tenants import TenantPolicy

OAUTH = "OAUTHBEARER"
_ADDRESS = re.compile(
    r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+)(:(?P<port>[0-9]{1,5}))?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*"
)
"""Host or IPv4 address, or an IPv6 one in brackets, and a port; or an IPv6 address without a port."""
_MAX_PORTS = 65_535
BROKERS_CHOICE = -1


def _are_addresses(servers: str) -> str:
    for server in servers.split(","):
        found = _ADDRESS.fullmatch(server.strip())
        if not found or not 0 < int(found["port"] or 1) <= _MAX_PORTS:
            raise ValueError(f"{server!r} is no address: write host:port, and commas between several")
    return servers


def _is_no_zero(copies: int) -> int:
    if copies == 0:
        raise ValueError("a topic has at least one copy; -1 leaves the number to the broker")
    return copies


class KafkaSettings(Section):
    """The broker, the topics and the group. The security options go to every client as they are."""

    bootstrap_servers: Annotated[str, AfterValidator(_are_addresses)] = "127.0.0.1:9092"
    """Brokers to start from, as `host:port`, separated by commas."""
    group_id: str = "pelton"
    """The workers' consumer group; part of every transactional id."""
    request_topics: Annotated[Topics, Field(min_length=1)] = (contract.REQUESTS_TOPIC,)
    """Topics that workers read. Clients send to the first."""
    interactive_topics: Strings = ()
    """Those of the request topics whose requests are interactive unless they say otherwise: they go before batch."""
    reply_topic: Topic = contract.REPLIES_TOPIC
    """Where replies go whose request names no topic."""
    reply_topics_allowed: Strings = (re.escape(contract.REPORT_REPLIES_TOPIC), re.escape(contract.SHADOW_TOPIC))
    """Regular expressions for the other topics a sender may name in `kafka_replyTopic`."""
    create_topics: bool = False
    """Create the topics that are missing when a worker starts."""
    partitions: Positive = 12
    """Partitions of a topic that a worker or `pelton up` creates."""
    replication_factor: Annotated[int, Field(ge=-1), AfterValidator(_is_no_zero)] = 1
    """Copies of a topic that a worker or `pelton up` creates; -1: as many as the broker makes by default."""
    session_timeout_ms: Positive = 45_000
    """A dead worker's partitions move to others after this long."""
    request_timeout_ms: Positive = 10_000
    """How long a Kafka client waits for a broker's answer."""
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    """Exactly once needs transactions (Kafka 4.0 or newer); at least once repeats answers after a crash."""
    transaction_timeout_ms: Positive = 10_000
    """A dead worker's open transaction holds up `read_committed` readers for at most about this long."""
    suspects_topic: Topic = "inference.suspects"
    """Compacted, one partition: remembers which requests were in the engine of a worker that died."""
    group_secret: Secret | None = None
    """Known to the group's workers and operators and to nobody else: suspicions, and the notes of replayed dead
    letters, are signed with it, and what is not is ignored. Unset, the broker must let nobody else write there."""
    cancels_topic: Topic = contract.CANCELS_TOPIC
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
    ssl_certfile: FilePath | None = None
    """The client's certificate and those between it and its CA, in PEM: for brokers that ask for one."""
    ssl_keyfile: FilePath | None = None
    """The private key of `ssl_certfile`, in PEM; unset: in the same file."""
    ssl_keyfile_password: SecretStr | None = None
    """Of an encrypted key."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "PLAIN"
    """How clients log in, where the protocol is `SASL_...`."""
    sasl_username: str | None = None
    """Who logs in."""
    sasl_password: SecretStr | None = None
    """Better given as the variable `PELTON_KAFKA__SASL_PASSWORD`, or in a file."""
    sasl_oauth_token_file: FilePath | None = None
    """For `OAUTHBEARER`: holds the access token, and is read for each login, so that whatever renews it may write it
    anew at any time."""

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
        return ReplyPolicy(
            self.reply_topic, allowed, self.tenant_policy(), frozenset(self.interactive_topics), self.stream_topic
        )

    def tenant_policy(self) -> TenantPolicy:
        """What binds tenants to topics and keys."""
        keys = {tenant: key.get_secret_value().encode() for tenant, key in self.tenant_keys.items()}
        return TenantPolicy(dict(self.tenant_topics), keys)

    @model_validator(mode="after")
    def _lanes_fit(self) -> Self:
        if strays := sorted(set(self.interactive_topics) - set(self.request_topics)):
            raise ValueError(f"interactive_topics names {strays[0]!r}, which is none of request_topics")
        return self

    @model_validator(mode="after")
    def _tenants_fit(self) -> Self:
        if strays := sorted(self.tenant_topics.keys() - set(self.request_topics)):
            raise ValueError(f"tenant_topics names {strays[0]!r}, which is none of request_topics")
        for tenant in (*self.tenant_topics.values(), *self.tenant_keys):
            if not re.fullmatch(contract.TENANT_PATTERN, tenant):
                raise ValueError(f"{tenant!r} cannot be a tenant: 1 to 128 letters, digits or any of . _ : @ -")
        return self

    @model_validator(mode="after")
    def _login_is_whole(self) -> Self:
        if not self.security_protocol.startswith("SASL"):
            return self
        if self.sasl_mechanism == OAUTH:
            if self.sasl_oauth_token_file is None:
                raise ValueError(f"sasl_mechanism {OAUTH} needs sasl_oauth_token_file")
            try:
                TokenFile(self.sasl_oauth_token_file).read()
            except TokenUnusable as error:
                raise ValueError(f"sasl_oauth_token_file: {error}") from None
        elif not (self.sasl_username and self.sasl_password):
            raise ValueError(f"security_protocol {self.security_protocol} needs sasl_username and sasl_password")
        return self

    @model_validator(mode="after")
    def _certificates_can_be_used(self) -> Self:
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise ValueError("ssl_keyfile has no use without ssl_certfile")
        if self._encrypted:
            self._tls_files.context()
        return self

    @property
    def _encrypted(self) -> bool:
        return self.security_protocol.endswith("SSL")

    @property
    def _tls_files(self) -> TlsFiles:
        secret = self.ssl_keyfile_password
        password = None if secret is None else secret.get_secret_value()
        return TlsFiles(self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile, password)

    @property
    def copies(self) -> dict[str, Any]:
        """Keyword arguments for aiokafka's `NewTopic`, which leaves copies to the broker only beside an assignment."""
        assignments: dict[int, list[int]] | None = {} if self.replication_factor == BROKERS_CHOICE else None
        return {"replication_factor": self.replication_factor, "replica_assignments": assignments}

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments that every aiokafka client takes. The files of TLS are read again for each client."""
        token_file = self.sasl_oauth_token_file
        return {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": self.security_protocol,
            "ssl_context": self._tls_files.context() if self._encrypted else None,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password and self.sasl_password.get_secret_value(),
            "sasl_oauth_token_provider": token_file and TokenFile(token_file),
            "request_timeout_ms": self.request_timeout_ms,
        }
