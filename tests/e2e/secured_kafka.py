"""A Kafka that asks who is there: by password or token over TLS on one port, by certificate on another."""

import base64
import json
import time
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization as pem

from pelton.stack.kafka import KafkaConfig, KafkaServer
from pelton.stack.ports import LOOPBACK, free_port

USER, PASSWORD = "pelton", "the-right-password"
STRANGER = "stranger"
"""Has the same password, and no rights."""
KEY_PASSWORD = "of-the-key"  # noqa: S105  # made up
_MODULES = "org.apache.kafka.common.security"


class Certificates:
    """A CA that the broker trusts and is signed by, one that it does not know, and certificates of clients."""

    def __init__(self, folder: Path) -> None:
        authority, strange = trustme.CA(), trustme.CA()
        self.authority, self.strange_authority = folder / "ca.pem", folder / "strange-ca.pem"
        authority.cert_pem.write_to_path(self.authority)
        strange.cert_pem.write_to_path(self.strange_authority)
        self.server = folder / "server.pem"
        _write(authority.issue_cert(LOOPBACK), self.server)
        self.client, self.strange_client = folder / "client.pem", folder / "strange-client.pem"
        client = authority.issue_cert("client.example", common_name="client")
        _write(client, self.client)
        _write(strange.issue_cert("client.example"), self.strange_client)
        self.locked_key = folder / "client.key"
        self.locked_key.write_bytes(_key(client, KEY_PASSWORD))


class SecuredKafka(KafkaServer):
    """Its usual port needs no login, and whoever uses that may do everything."""

    def __init__(self, certificates: Certificates) -> None:
        super().__init__(KafkaConfig())
        self.certificates = certificates
        self.password_port, self.certificate_port = free_port(), free_port()

    @property
    def with_password(self) -> str:
        """Speaks SASL_SSL: PLAIN and OAUTHBEARER."""
        return f"{LOOPBACK}:{self.password_port}"

    @property
    def with_certificate(self) -> str:
        """Speaks SSL and wants the client's certificate."""
        return f"{LOOPBACK}:{self.certificate_port}"

    def _write_properties(self) -> Path:
        path = super()._write_properties()
        inherited = dict(line.split("=", 1) for line in path.read_text().splitlines())
        tls = {"ssl.keystore.type": "PEM", "ssl.keystore.location": self.certificates.server}
        trust = {"ssl.truststore.type": "PEM", "ssl.truststore.location": self.certificates.authority}
        users = f'user_{USER}="{PASSWORD}" user_{STRANGER}="{PASSWORD}"'
        secure = {
            **tls,
            "sasl.enabled.mechanisms": "PLAIN,OAUTHBEARER",
            "plain.sasl.jaas.config": f"{_MODULES}.plain.PlainLoginModule required {users};",
            "oauthbearer.sasl.jaas.config": (
                f'{_MODULES}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
            ),
        }
        mutual = {**tls, **trust, "ssl.client.auth": "required"}
        properties = inherited | {
            "listeners": f"{inherited['listeners']},SECURE://{self.with_password},MUTUAL://{self.with_certificate}",
            "listener.security.protocol.map": (
                f"{inherited['listener.security.protocol.map']},SECURE:SASL_SSL,MUTUAL:SSL"
            ),
            "inter.broker.listener.name": "PLAINTEXT",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:ANONYMOUS;User:{USER};User:CN=client",
            "ssl.principal.mapping.rules": "RULE:^.*CN=client.*$/CN=client/",
            **{f"listener.name.secure.{name}": str(value) for name, value in secure.items()},
            **{f"listener.name.mutual.{name}": str(value) for name, value in mutual.items()},
        }
        path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        return path


def token(subject: str = USER, *, valid_s: float = 3600) -> str:
    """A JSON Web Token without a signature, which is enough for a broker that was told of no issuer."""
    now = time.time()
    claims = {"sub": subject, "iat": now - 7200, "exp": now + valid_s}
    return f"{_encoded({'alg': 'none'})}.{_encoded(claims)}."


def _encoded(part: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def _write(certificate: trustme.LeafCert, path: Path) -> None:
    path.write_bytes(_key(certificate) + b"".join(part.bytes() for part in certificate.cert_chain_pems))


def _key(certificate: trustme.LeafCert, password: str | None = None) -> bytes:
    """In PKCS#8, the only form that Java reads."""
    key = pem.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    lock = pem.BestAvailableEncryption(password.encode()) if password else pem.NoEncryption()
    return key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, lock)
