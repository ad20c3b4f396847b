"""Apache Kafka as one node: broker and controller in one JVM, on loopback."""

import base64
import os
import socket
import struct
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pelton.pipeline.paths import cache_dir
from pelton.stack.errors import StackError
from pelton.stack.jars import ensure_jars
from pelton.stack.java import find_java
from pelton.stack.ports import LOOPBACK, free_port
from pelton.stack.server import Server

SINGLE_NODE: Mapping[str, str] = {
    # One replica is all that one node can keep, of Kafka's own topics too.
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Each of these partitions costs files and start-up time.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    # A consumer need not wait for company, and may be declared dead after a second.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # A misspelt topic is an error, as it would be in production.
    "auto.create.topics.enable": "false",
}
"""Broker settings for a node without peers, by their names in Kafka's documentation."""

_LOCAL = {
    # After a crash the controller turns the returning broker away until the session of the one before has run out.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    # The default reserves 128 MiB of heap for compaction.
    "log.cleaner.dedupe.buffer.size": str(4 * 1024 * 1024),
    "num.network.threads": "2",
    "num.io.threads": "4",
    # The controller has no followers that must hear twice a second that it lives.
    "metadata.max.idle.interval.ms": "0",
}
# Measured: with the first compiler alone it starts in three quarters of the time, and the small initial heap saves a
# third of the memory. -UsePerfData: no files in the system's temporary folder that a SIGKILL would leave behind.
_JVM = ("-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
_LOGGING = ("defaultLogLevel=warn", "showDateTime=true", "dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX")
_FORMAT_TIMEOUT_S = 60
_PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    port: int = 0
    """0 takes any free port."""
    data: Path | None = None
    """Without it, everything lies in a temporary folder."""
    max_heap_mb: int = 384


class KafkaServer(Server):
    """A broker that production code can be run against: transactions, groups and all. Java and jars are found here."""

    name: ClassVar[str] = "Kafka"
    port_option: ClassVar[str] = "--kafka-port"

    def __init__(self, config: KafkaConfig) -> None:
        super().__init__(port=config.port, data=config.data)
        self._max_heap_mb = config.max_heap_mb

    @property
    def bootstrap_servers(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def command(self) -> list[str]:
        java = self._java()
        properties = self._write_properties()
        if not (self.folder / "log" / "meta.properties").exists():
            _format_storage(java, properties)
        return [*java, "kafka.Kafka", str(properties)]

    def answers(self) -> bool:
        return lists_a_broker(LOOPBACK, self.port)

    def _java(self) -> list[str]:
        # Compression libraries unpack themselves into Java's temporary folder.
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        return [
            str(find_java()),
            f"-Xmx{self._max_heap_mb}m",
            *_JVM,
            f"-Djava.io.tmpdir={temporary}",
            f"-XX:ErrorFile={self.folder / 'jvm-crash.log'}",
            *(f"-Dorg.slf4j.simpleLogger.{option}" for option in _LOGGING),
            "-cp",
            os.pathsep.join(str(jar) for jar in ensure_jars(cache_dir())),
        ]

    def _write_properties(self) -> Path:
        controller = f"{LOOPBACK}:{free_port()}"
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{self.bootstrap_servers},CONTROLLER://{controller}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(self.folder / "log"),
            **SINGLE_NODE,
            **_LOCAL,
        }
        path = self.folder / "server.properties"
        path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()), "utf-8")
        return path


def lists_a_broker(host: str, port: int) -> bool:
    """Whether the Kafka at this address answers a Metadata request and knows a living broker.

    A broker listens, and answers, before the controller admits it; only then are topics and groups served.
    """
    # Metadata, version 1, no client id, about no topics: https://kafka.apache.org/protocol#The_Messages_Metadata
    request = struct.pack(">hhihi", 3, 1, 0, -1, 0)
    try:
        with socket.create_connection((host, port), _PROBE_TIMEOUT_S) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as answer:
                _length, _correlation_id, brokers = struct.unpack(">iii", answer.read(12))
    except (OSError, struct.error):
        return False
    return bool(brokers > 0)


def _format_storage(java: list[str], properties: Path) -> None:
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    arguments = ["format", f"--cluster-id={cluster_id}", f"--config={properties}", "--ignore-formatted"]
    try:
        subprocess.run(  # noqa: S603  # the command is our own
            [*java, "kafka.tools.StorageTool", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=True,
            timeout=_FORMAT_TIMEOUT_S,
            start_new_session=True,
        )
    except subprocess.CalledProcessError as error:
        raise StackError(f"Kafka cannot format {properties.parent}; it said:\n{error.stdout}") from error
    except subprocess.TimeoutExpired as error:
        raise StackError(f"Formatting {properties.parent} took Kafka more than {_FORMAT_TIMEOUT_S} s.") from error
