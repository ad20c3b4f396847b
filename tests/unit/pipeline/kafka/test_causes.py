"""Each failure of Kafka is one sentence that names the cause and the setting."""

import asyncio
import logging
import socket
import ssl

import pytest
from aiokafka import errors

from pelton.pipeline.kafka.causes import client_errors, kafka_cause
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.errors import BrokerUnreachable
from pelton.producers.kafka.cluster import look_up

KAFKA = KafkaSettings(bootstrap_servers="broker:9093")
UNTRUSTED = ssl.SSLCertVerificationError(1, "certificate verify failed")
UNTRUSTED.verify_message = "self-signed certificate"


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (errors.for_code(58)("no"), "kafka.sasl_password"),
        (errors.UnsupportedSaslMechanismError("no"), "kafka.sasl_mechanism"),
        (errors.GroupCoordinatorNotAvailableError("no"), "offsets.topic.replication.factor"),
        (UNTRUSTED, "kafka.ssl_cafile"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "kafka.security_protocol to PLAINTEXT"),
        (ssl.SSLError(1, "tlsv13 alert certificate required"), "wants a certificate"),
        (socket.gaierror(-2, "Name or service not known"), "DNS: check kafka.bootstrap_servers"),
        (errors.KafkaConnectionError("Connection at broker:9093 closed"), "kafka.security_protocol (PLAINTEXT)"),
        (errors.TopicAuthorizationFailedError({"a", "b"}), "topic a, b (TopicAuthorizationFailedError): give users"),
        (errors.TopicAuthorizationFailedError("asking for topic a"), "does not allow asking for topic a"),
        (errors.GroupAuthorizationFailedError("no coordinator for pelton"), "the group 'pelton' of kafka.group_id"),
        (ConnectionRefusedError(111, "refused"), "pelton up"),
        (TimeoutError(), "cannot be reached (no answer in time)"),
    ],
)
def test_what_the_client_only_logs_is_said(cause: Exception, words: str) -> None:
    """The client raises no more than that there is no connection."""
    with client_errors() as logged:
        logging.getLogger("aiokafka").error("Unable connect: %s", cause)
    told = kafka_cause(KAFKA, errors.KafkaConnectionError("Unable to bootstrap"), logged)
    assert words in told
    assert "broker:9093" in told
    assert "\n" not in told


def test_sasl_without_a_user_is_a_wrong_setting() -> None:
    """It is known before anything is connected."""
    with pytest.raises(ValueError, match="needs sasl_username and sasl_password"):
        KafkaSettings(security_protocol="SASL_SSL")


class NotKafka(asyncio.Protocol):
    """Answers as a web server does, and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        transport.close()


@pytest.mark.parametrize("protocol", ["SSL", "PLAINTEXT"])
async def test_a_port_that_speaks_something_else_names_the_protocol(protocol: str) -> None:
    """Through the real client: what it logs reaches the error that a command shows."""
    server = await asyncio.get_running_loop().create_server(NotKafka, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        kafka = KafkaSettings.model_validate(
            {"bootstrap_servers": f"127.0.0.1:{port}", "security_protocol": protocol, "request_timeout_ms": 2_000}
        )
        with pytest.raises(BrokerUnreachable, match=r"kafka\.security_protocol"):
            await look_up(kafka, "any")
