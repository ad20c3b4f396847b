"""A Kafka and a Redis or Valkey for the tests that ask for one, each started when first asked for.

Whichever comes first: the servers that `PELTON_KAFKA__BOOTSTRAP_SERVERS` and `PELTON_CACHE__REDIS_URL` name;
containers, where a Docker engine answers; the local stack of `pelton up`. The processes of one run share a Kafka, whose
start costs as much as many tests.
"""

import fcntl
import functools
import gc
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO

import docker
import pytest
from docker.errors import DockerException
from testcontainers.community.valkey import ValkeyContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.exceptions import ContainerStartException

from pelton.stack.errors import StackError
from pelton.stack.jars import read_pins
from pelton.stack.kafka import SINGLE_NODE, KafkaConfig, KafkaServer, lists_a_broker
from pelton.stack.ports import free_port
from pelton.stack.valkey import ValkeyConfig, ValkeyServer

KAFKA_VARIABLE = "PELTON_KAFKA__BOOTSTRAP_SERVERS"
REDIS_VARIABLE = "PELTON_CACHE__REDIS_URL"
CONTAINER_TIMEOUT_S = 60


_RUNNING = ExitStack()
"""What ends with the session, and not with its last test: that has a time limit, and the others may take longer."""


@pytest.fixture(scope="session")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> str:
    """`host:port` of a Kafka with transactions, where a test creates the topics it uses."""
    if named := os.environ.get(KAFKA_VARIABLE):
        return named
    base = tmp_path_factory.getbasetemp()
    of_the_run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with _or_fail(KAFKA_VARIABLE):
        server = _kafka_container() if _docker_answers() else _local_kafka()
        return _RUNNING.enter_context(_shared(server, of_the_run / "kafka"))


def pytest_sessionfinish() -> None:
    _RUNNING.close()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of a Redis or Valkey; tests share it, so each uses keys of its own."""
    with _or_fail(REDIS_VARIABLE):
        if named := os.environ.get(REDIS_VARIABLE):
            yield named
        elif _docker_answers():
            with ValkeyContainer("valkey/valkey:9") as container:
                yield f"redis://{container.get_host()}:{container.get_exposed_port()}/0"
        else:
            with ValkeyServer(ValkeyConfig()) as server:
                yield server.url


@contextmanager
def _shared(server: AbstractContextManager[str], place: Path) -> Iterator[str]:
    """The address of a server that the processes of a run have in common; it is noted in `place`.

    Who asks first starts it; when that one is done it waits for the others, which hold a lock for as long as they run.
    """
    with place.open("a+") as note, place.with_suffix(".users").open("a") as users:
        fcntl.flock(note, fcntl.LOCK_EX)
        if address := _noted(note):
            fcntl.flock(users, fcntl.LOCK_SH)
            fcntl.flock(note, fcntl.LOCK_UN)
            yield address
            return
        with server as address:
            note.write(address)
            note.flush()
            fcntl.flock(note, fcntl.LOCK_UN)
            yield address
            fcntl.flock(note, fcntl.LOCK_EX)  # whoever comes from now on starts another
            fcntl.flock(users, fcntl.LOCK_EX)
            note.truncate(0)


def _noted(note: IO[str]) -> str:
    note.seek(0)
    return note.read()


@contextmanager
def _local_kafka() -> Iterator[str]:
    with KafkaServer(KafkaConfig()) as server:
        yield server.bootstrap_servers


@contextmanager
def _or_fail(variable: str) -> Iterator[None]:
    problem = None
    try:
        yield
    except (StackError, DockerException, ContainerStartException, TimeoutError) as error:
        problem = str(error)
    if problem is not None:
        pytest.fail(
            f"This test needs a server; {variable} can name one, since none could start: {problem}", pytrace=False
        )


@functools.cache
def _docker_answers() -> bool:
    with warnings.catch_warnings():
        # Where nothing listens, docker's client leaves its socket to the garbage collector, which complains of it.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            with closing(docker.from_env()) as engine:
                return bool(engine.ping())
        except DockerException:
            return False
        finally:
            gc.collect()


@contextmanager
def _kafka_container() -> Iterator[str]:
    """Apache's own image. A client must reach it under the address it advertises: hence a port chosen beforehand."""
    port = free_port()
    container = DockerContainer(f"apache/kafka:{read_pins().version}").with_bind_ports(9092, port)
    host = container.get_docker_client().host()
    properties = {
        "node.id": "1",
        "process.roles": "broker,controller",
        "controller.quorum.voters": "1@localhost:9093",
        "controller.listener.names": "CONTROLLER",
        "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://{host}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        **SINGLE_NODE,
    }
    for name, value in properties.items():
        container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    with container:
        deadline = time.monotonic() + CONTAINER_TIMEOUT_S
        while not lists_a_broker(host, port):
            if time.monotonic() > deadline:
                raise StackError(f"Kafka in a container did not answer within {CONTAINER_TIMEOUT_S} s")
            time.sleep(0.2)
        yield f"{host}:{port}"
