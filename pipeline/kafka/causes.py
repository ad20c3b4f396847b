"""Why Kafka cannot be used, in one sentence that names the setting to change.

Kafka's client logs what kept it from connecting and raises only that it could not, so what it logs is collected.
Causes are recognised by names and texts, as this package knows no client.
"""

import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from pelton.pipeline.settings.kafka import OAUTH, KafkaSettings
from pelton.pipeline.settings.kafka_security import TokenUnusable

_CLIENT_LOGGER = "aiokafka"
_KEPT = 8
_WITHOUT_COORDINATOR = "GroupCoordinatorNotAvailableError"
_CUT_OFF = ("connection closed", "closed", "connection reset", "eof", "lost connection")


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.errors: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        values = record.args if isinstance(record.args, tuple) else ()
        self.errors[:] = [*self.errors, *(value for value in values if isinstance(value, BaseException))][-_KEPT:]


@contextmanager
def client_errors() -> Iterator[list[BaseException]]:
    """The last errors that Kafka's client logs inside the block."""
    collector = _Collector()
    logger = logging.getLogger(_CLIENT_LOGGER)
    logger.addHandler(collector)
    try:
        yield collector.errors
    finally:
        logger.removeHandler(collector)


def kafka_cause(kafka: KafkaSettings, error: BaseException, logged: list[BaseException]) -> str:
    """One sentence on `error`, or on the latest of the `logged` ones, which led to it and say more."""
    where = f"Kafka at {kafka.bootstrap_servers}"
    for cause in _origins(error, logged):
        if reason := _known(kafka, cause):
            return f"{where} {reason}."
    said = _said(logged[-1] if logged else error)
    return (
        f"{where} cannot be reached ({said}): start one with `pelton up`, or set kafka.bootstrap_servers "
        "(PELTON_KAFKA__BOOTSTRAP_SERVERS) to where it is."
    )


def _said(error: BaseException) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    return str(error) or repr(error)


def may_pass(error: BaseException, logged: list[BaseException]) -> bool:
    """Whether the same settings may work later: the broker is away or its name unknown, but nothing is refused."""
    return not any(
        isinstance(cause, ssl.SSLError) or _of_the_account(KafkaSettings(), cause) for cause in _origins(error, logged)
    )


def is_cut_off(error: BaseException, logged: list[BaseException]) -> bool:
    """Whether the broker closed a connection: by chance where it is going down, always where it expects TLS."""
    return any(map(_cut_off, (*logged, error)))


def _origins(error: BaseException, logged: list[BaseException]) -> Iterator[BaseException]:
    """The latest first, and what an error came from, such as an alert of TLS, before the error itself."""
    for raised in (*reversed(logged), error):
        if origin := raised.__cause__ or raised.__context__:
            yield origin
        yield raised


def _cut_off(cause: BaseException) -> bool:
    if isinstance(cause, ConnectionResetError):
        return True
    return not isinstance(cause, ConnectionRefusedError) and any(word in str(cause).lower() for word in _CUT_OFF)


def _known(kafka: KafkaSettings, cause: BaseException) -> str | None:
    return _of_the_account(kafka, cause) or _of_the_token(kafka, cause) or _of_the_connection(kafka, cause)


def _of_the_account(kafka: KafkaSettings, cause: BaseException) -> str | None:
    name = type(cause).__name__
    if name in ("SaslAuthenticationFailed", "AuthenticationFailedError"):
        if kafka.sasl_mechanism == OAUTH:
            return f"refuses the token in {kafka.sasl_oauth_token_file}: see that kafka.sasl_oauth_token_file is fresh"
        return f"refuses the user {kafka.sasl_username!r}: check kafka.sasl_username and kafka.sasl_password"
    if name in ("UnsupportedSaslMechanismError", "UnsupportedSaslMechanism"):
        return f"does not offer the mechanism {kafka.sasl_mechanism}: set kafka.sasl_mechanism to one that it does"
    if name == "IllegalSaslStateError":
        return "asks for no password on this port: set kafka.security_protocol to PLAINTEXT or SSL, or use another port"
    if name.endswith("AuthorizationFailedError"):
        return f"does not allow {_refused(kafka, cause)} ({name}): give {who(kafka)} the ACLs of SECURITY.md"
    return None


def _refused(kafka: KafkaSettings, cause: BaseException) -> str:
    """The group, or what the client says that it asked for: a sentence, or names of topics."""
    if type(cause).__name__ == "GroupAuthorizationFailedError" and kafka.group_id in str(cause):
        return f"the group {kafka.group_id!r} of kafka.group_id"
    match cause.args:
        case (str(text), *_):
            return text
        case (set() | frozenset() | list() | tuple() as topics, *_):
            return f"topic {', '.join(sorted(map(str, topics)))}"
    return "this"


def who(kafka: KafkaSettings) -> str:
    """By what the broker knows this client."""
    if kafka.security_protocol.startswith("SASL"):
        named = kafka.sasl_mechanism == OAUTH
        return "the owner of kafka.sasl_oauth_token_file" if named else f"the user {kafka.sasl_username!r}"
    return f"the owner of kafka.ssl_certfile {kafka.ssl_certfile}" if kafka.ssl_certfile else "users without a login"


def _of_the_token(kafka: KafkaSettings, cause: BaseException) -> str | None:
    if isinstance(cause, TokenUnusable):
        return f"has not been asked, as kafka.sasl_oauth_token_file {cause}"
    if kafka.sasl_mechanism == OAUTH and type(cause).__name__ in ("StaleMetadata", "NodeNotReadyError"):
        # Where a token is refused, the client takes itself for logged in, and is answered with nothing.
        return "names no brokers: it probably refuses the token in kafka.sasl_oauth_token_file, or is starting"
    return None


def _of_the_connection(kafka: KafkaSettings, cause: BaseException) -> str | None:
    if type(cause).__name__ == _WITHOUT_COORDINATOR:
        return (
            "has no coordinator for consumer groups: its topic __consumer_offsets is being made, or needs more brokers "
            "than there are (the broker's offsets.topic.replication.factor)"
        )
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"shows a certificate that is not trusted ({cause.verify_message}): set kafka.ssl_cafile to the CA that "
            "signed it, and kafka.bootstrap_servers to a name that it is for"
        )
    if isinstance(cause, ssl.SSLError):
        return _tls(kafka, (getattr(cause, "reason", None) or str(cause)).lower().replace("_", " "))
    if type(cause).__name__ == "gaierror":
        return "has a name that is not known to DNS: check kafka.bootstrap_servers"
    if _cut_off(cause):
        return (
            "closes the connection at once: kafka.security_protocol "
            f"({kafka.security_protocol}) is probably not what this port speaks"
        )
    return None


def _tls(kafka: KafkaSettings, text: str) -> str:
    if "alert" in text and "certificate" in text and kafka.ssl_certfile is not None:
        return f"refuses the certificate in kafka.ssl_certfile {kafka.ssl_certfile} ({text}): use one of a CA it trusts"
    if "certificate" in text or "handshake failure" in text:
        return "wants a certificate of the client: set kafka.ssl_certfile and kafka.ssl_keyfile"
    return f"does not speak TLS on this port ({text}): set kafka.security_protocol to PLAINTEXT or SASL_PLAINTEXT"
