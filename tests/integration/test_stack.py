"""The local stack: a real Kafka and a real Valkey that keep their data, and never outlive whoever started them."""

import asyncio
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pelton.stack.errors import StackError
from pelton.stack.kafka import KafkaConfig, KafkaServer
from pelton.stack.stack import LocalStack, StackConfig
from pelton.stack.valkey import ValkeyConfig, ValkeyServer

UP = [sys.executable, "-c", "import typer; from pelton.commands.up import up; typer.run(up)"]
ANY_PORTS = ["--kafka-port", "0", "--valkey-port", "0"]


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(StackConfig()) as stack:
        yield stack


async def create_topic(stack: LocalStack, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka.bootstrap_servers)
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()
    assert [error[1] for error in answer.topic_errors] == [0]


async def committed_values(stack: LocalStack, topic: str, count: int) -> list[bytes]:
    """The first `count` values that a read_committed consumer sees."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=stack.kafka.bootstrap_servers,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            return [(await anext(consumer)).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_a_transaction_moves_a_group_and_publishes_together(stack: LocalStack) -> None:
    """Replies and the group's position are committed together; what was aborted is never read."""
    await create_topic(stack, "in")
    await create_topic(stack, "out")
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap_servers, transactional_id="group-in-0")
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait("out", b"aborted")
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait("out", b"committed")
            await producer.send_offsets_to_transaction({TopicPartition("in", 0): 7}, "group")
    finally:
        await producer.stop()
    assert await committed_values(stack, "out", 1) == [b"committed"]
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka.bootstrap_servers)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets("group")
    finally:
        await admin.close()
    assert offsets[TopicPartition("in", 0)].offset == 7


async def test_a_crashed_broker_comes_back_with_its_data(stack: LocalStack) -> None:
    """After SIGKILL, `start()` serves the same port and every acknowledged record, from a new process."""
    await create_topic(stack, "kept")
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap_servers, acks="all") as producer:
        for value in (b"one", b"two"):
            await producer.send_and_wait("kept", value)
    address, pid = stack.kafka.bootstrap_servers, stack.kafka.pid
    stack.kafka.kill()
    with pytest.raises(StackError, match="Kafka ended with status 137"):
        stack.check()
    stack.kafka.start()
    assert stack.kafka.bootstrap_servers == address
    assert stack.kafka.pid != pid
    assert await committed_values(stack, "kept", 2) == [b"one", b"two"]


def test_a_chosen_folder_outlives_the_server(tmp_path: Path) -> None:
    """With `data`, Valkey's keys are there for the next server, and the folder stays."""
    for expected, written in ((None, "1"), ("1", "2")):
        with (
            ValkeyServer(ValkeyConfig(data=tmp_path / "valkey", max_memory_mb=64)) as server,
            redis.Redis.from_url(server.url, decode_responses=True) as client,
        ):
            assert client.get("key") == expected
            client.set("key", written)


def test_a_kafka_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The broker's own words are in the error, and nothing is left running."""
    folder = tmp_path / "kafka"
    (folder / "log").mkdir(parents=True)
    (folder / "log" / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=someone-elses\n")
    server = KafkaServer(KafkaConfig(data=folder))
    with pytest.raises(StackError, match=r"Kafka ended with status 1; (.|\n)*Stored node id 7 doesn't match"):
        server.start()
    assert not server.running


OWNER = """
    import time
    from pelton.stack.stack import LocalStack, StackConfig

    with LocalStack(StackConfig()) as stack:
        print(stack.kafka.folder, stack.valkey.folder, flush=True)
        time.sleep(60)
"""


def survivors(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run after ten seconds; a zombie that nobody buries does not run."""
    _, alive = psutil.wait_procs(processes, timeout=10)
    return [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_nothing_outlives_an_owner_that_is_killed() -> None:
    """SIGKILL of the process that started the stack ends both servers and removes their folders."""
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(OWNER)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        folders = [Path(name) for name in owner.stdout.readline().split()]
        processes = psutil.Process(owner.pid).children(recursive=True)
        assert {process.name() for process in processes} >= {"java", "valkey-server"}
        assert all(folder.is_dir() for folder in folders)
        owner.kill()
        assert not survivors(processes)
    assert not any(folder.exists() for folder in folders)


@contextmanager
def pelton_up(*options: str) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """`pelton up` once it says that it is ready, and the processes it has started."""
    with subprocess.Popen([*UP, *ANY_PORTS, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as up:
        try:
            assert up.stdout is not None
            while (line := up.stdout.readline()) != "Ctrl-C stops both.\n":
                assert line, up.communicate()[1]
            yield up, psutil.Process(up.pid).children(recursive=True)
        finally:
            up.kill()


def test_up_runs_until_it_is_interrupted(tmp_path: Path) -> None:
    """The settings file names a Redis that answers; SIGINT means exit 0, and neither file nor process is left."""
    env_file = tmp_path / "pelton.env"
    with pelton_up("--env-file", str(env_file)) as (up, processes):
        settings = dict(line.removeprefix("export ").split("=", 1) for line in env_file.read_text().splitlines())
        with redis.Redis.from_url(settings["PELTON_CACHE__REDIS_URL"]) as client:
            assert client.ping()
        up.send_signal(signal.SIGINT)
        assert up.wait(20) == 0
        assert not survivors(processes)
    assert not env_file.exists()


def test_up_ends_when_a_server_dies() -> None:
    """Exit 1, the dead server's name, and nothing left of the other one."""
    with pelton_up() as (up, processes):
        next(process for process in processes if process.name() == "valkey-server").kill()
        _, messages = up.communicate(timeout=60)
        assert up.returncode == 1
        assert "Valkey ended with status 137" in messages
        assert not survivors(processes)
