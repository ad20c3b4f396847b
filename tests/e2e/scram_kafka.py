"""A Kafka with users that prove a password by SCRAM over TLS, and rights that are given by commands."""

import argparse
import asyncio
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from pelton.stack.kafka import KafkaConfig, KafkaServer
from pelton.stack.ports import LOOPBACK, free_port
from tests.e2e.secured_kafka import Certificates

TOPIC, GROUP, TRANSACTIONAL_ID = 2, 3, 5
LITERAL, PREFIXED = 3, 4
OPERATIONS = {"Read": 3, "Write": 4, "Describe": 8}
ALLOW = 3
FORMAT_S = 60


class ScramKafka(KafkaServer):
    """Its usual port needs no login, and whoever uses that may do everything."""

    def __init__(self, certificates: Certificates, users: Mapping[str, str]) -> None:
        super().__init__(KafkaConfig())
        self.certificates = certificates
        self.secure_port = free_port()
        self._users = users

    @property
    def secure(self) -> str:
        """Speaks SASL_SSL: SCRAM-SHA-512."""
        return f"{LOOPBACK}:{self.secure_port}"

    def command(self) -> list[str]:
        """Users are made when the storage is."""
        java, properties = self._java(), self._write_properties()
        users = [f"--add-scram=SCRAM-SHA-512=[name={name},password={word}]" for name, word in self._users.items()]
        command = [*java, "kafka.tools.StorageTool", "format", "--cluster-id=MkU3OEVBNTcwNTJENDM2Qk"]
        subprocess.run(
            [*command, f"--config={properties}", "--ignore-formatted", *users],
            check=True,
            capture_output=True,
            timeout=FORMAT_S,
        )
        return [*java, "kafka.Kafka", str(properties)]

    def _write_properties(self) -> Path:
        path = super()._write_properties()
        inherited = dict(line.split("=", 1) for line in path.read_text().splitlines())
        protocols = inherited["listener.security.protocol.map"]
        properties = inherited | {
            "listeners": f"{inherited['listeners']},SECURE://{self.secure}",
            "listener.security.protocol.map": f"{protocols},SECURE:SASL_SSL",
            "inter.broker.listener.name": "PLAINTEXT",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "listener.name.secure.ssl.keystore.type": "PEM",
            "listener.name.secure.ssl.keystore.location": str(self.certificates.server),
            "listener.name.secure.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.secure.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
        }
        path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        return path


def documented_rights(page: str) -> list[argparse.Namespace]:
    """The commands of SECURITY.md."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--allow-principal", required=True)
    parser.add_argument("--operation", action="append", choices=list(OPERATIONS), required=True)
    parser.add_argument("--topic")
    parser.add_argument("--group")
    parser.add_argument("--transactional-id")
    parser.add_argument("--resource-pattern-type", choices=["literal", "prefixed"], default="literal")
    return [parser.parse_args(shlex.split(line)) for line in re.findall(r"^\$acls (.*)$", page, re.MULTILINE)]


def grant(bootstrap: str, rights: list[argparse.Namespace]) -> None:
    """As the commands would. Raises `RuntimeError` for what Kafka refuses."""
    asyncio.run(_grant(bootstrap, [request for right in rights for request in _requests(right)]))


async def _grant(bootstrap: str, requests: list[CreateAclsRequest]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        for request in requests:
            answer = await admin._send_to_controller(request)
            if faults := [message for code, message in answer.creation_responses if code]:
                raise RuntimeError(f"Kafka grants no such right: {faults}")
    finally:
        await admin.close()


def _requests(right: argparse.Namespace) -> Iterator[CreateAclsRequest]:
    kinds = {TOPIC: right.topic, GROUP: right.group, TRANSACTIONAL_ID: right.transactional_id}
    [(kind, name)] = [(kind, name) for kind, name in kinds.items() if name]
    pattern = PREFIXED if right.resource_pattern_type == "prefixed" else LITERAL
    for operation in right.operation:
        yield CreateAclsRequest(kind, name, pattern, right.allow_principal, "*", OPERATIONS[operation], ALLOW)
