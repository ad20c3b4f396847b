"""Senders, workers and operators, each with the rights of SECURITY.md and no others: all works, the rest is refused."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from pelton.pipeline.lifecycle import Lifecycle, State
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.loading import Settings
from pelton.producers.client import InferenceClient
from pelton.producers.errors import BrokerUnreachable
from pelton.producers.kafka.cancel_sender import CancelSender
from pelton.producers.kafka.cluster import look_up
from pelton.workers import served_model
from pelton.workers.kafka.topics import ensure_topics
from pelton.workers.worker import Worker
from tests.e2e.scram_kafka import ScramKafka, documented_rights, grant
from tests.e2e.secured_kafka import Certificates

SECURITY = Path(__file__).parents[2] / "SECURITY.md"
USERS = {name: f"the-password-of-{name}" for name in ("worker", "sender", "operator", "stranger")}
REQUEST = {"model": "default", "messages": [{"role": "user", "content": "hello"}]}
LIMIT_S = 60
REFUSED_S = 30
"""Some refusals show in nothing but a client that gets no answer."""
REQUESTS, REPLIES, LETTERS, SUSPECTS, CANCELS = (
    "inference.requests", "inference.replies", "inference.requests-dlt", "inference.suspects", "inference.cancels",
)  # fmt: skip
TOPICS = (REQUESTS, REPLIES, LETTERS, SUSPECTS, CANCELS)
MAY_READ = {
    "worker": {REQUESTS, SUSPECTS, CANCELS},
    "sender": {REPLIES},
    "operator": {LETTERS},
    "stranger": set(),
}
MAY_WRITE = {
    "worker": {REPLIES, LETTERS, SUSPECTS},
    "sender": {REQUESTS, CANCELS},
    "operator": {REQUESTS, LETTERS},
    "stranger": set(),
}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScramKafka]:
    """With the topics that an administrator has made, and the rights as documented."""
    with ScramKafka(Certificates(tmp_path_factory.mktemp("rights")), USERS) as server:
        made = KafkaSettings(bootstrap_servers=server.bootstrap_servers, create_topics=True, partitions=2)
        asyncio.run(ensure_topics(made))
        grant(server.bootstrap_servers, documented_rights(SECURITY.read_text()))
        yield server


def settings(broker: ScramKafka, user: str, **more: Any) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=broker.secure,
        security_protocol="SASL_SSL",
        ssl_cafile=broker.certificates.authority,
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username=user,
        **{"sasl_password": USERS[user], **more},
    )


@asynccontextmanager
async def a_worker(broker: ScramKafka) -> Any:
    whole = Settings(
        kafka=settings(broker, "worker", session_timeout_ms=6_000),
        engine={"kind": "simulated", "simulated": {"itl_ms": 5}},
    )
    ready = asyncio.Event()
    lifecycle = Lifecycle(lambda state: ready.set() if state is State.READY else None)
    served = served_model.build(whole)
    running = asyncio.create_task(Worker(whole, served, lifecycle, Metrics()).run())
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield
    finally:
        waiting.cancel()
        lifecycle.advance(State.DRAINING)
        await running
        served.close()


async def operate(broker: ScramKafka, *command: str) -> list[Any]:
    """What a command of the operator's prints: JSON, an object or a list a line."""
    kafka = settings(broker, "operator")
    variables = {
        "PELTON_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "PELTON_KAFKA__SECURITY_PROTOCOL": kafka.security_protocol,
        "PELTON_KAFKA__SSL_CAFILE": str(kafka.ssl_cafile),
        "PELTON_KAFKA__SASL_MECHANISM": kafka.sasl_mechanism,
        "PELTON_KAFKA__SASL_USERNAME": "operator",
        "PELTON_KAFKA__SASL_PASSWORD": USERS["operator"],
    }
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-P", "-m", "pelton", *command],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [orjson.loads(line) for line in done.stdout.splitlines() if line.startswith(("[", "{"))]


async def test_each_does_its_part(broker: ScramKafka) -> None:
    """A request is answered, one is taken back, a bad one is set aside, seen, counted and sent again."""
    async with a_worker(broker), InferenceClient(settings(broker, "sender")) as client:
        reply = await client.request(REQUEST, timeout_s=LIMIT_S)
        assert reply.error is None
        cancels = CancelSender(settings(broker, "sender"))
        await cancels.start()
        long = REQUEST | {"max_tokens": 400, "ignore_eos": True}
        sent = [client.request(long, correlation_id=b"%d" % index, timeout_s=LIMIT_S) for index in range(3)]
        waiting = [asyncio.create_task(each) for each in sent]
        await asyncio.sleep(0.1)
        await cancels.cancel([b"0"])
        assert all(reply.error is None or reply.error.code == "cancelled" for reply in await asyncio.gather(*waiting))
        await cancels.stop()
        bad = await client.request(b"{", timeout_s=LIMIT_S)
        assert bad.error.code == "invalid_json"
        [letter] = await operate(broker, "dlt", "list", "--json")
        assert letter["code"] == "invalid_json", letter
        await operate(broker, "dlt", "replay", "--yes")
        [[row]] = await operate(broker, "backlog", "--json")
        assert row["topic"] == REQUESTS


async def reads(kafka: KafkaSettings, topic: str, group: str | None = None) -> bool:
    consumer = AIOKafkaConsumer(
        *([topic] if group else []), group_id=group, auto_offset_reset="earliest", **kafka.client_options()
    )
    try:
        async with asyncio.timeout(REFUSED_S):
            await consumer.start()
            if not group:
                consumer.assign([TopicPartition(topic, 0)])
                await consumer.position(TopicPartition(topic, 0))
            await consumer.getmany(timeout_ms=300)
    except (KafkaError, TimeoutError):
        return False
    finally:
        await consumer.stop()
    return True


async def writes(kafka: KafkaSettings, topic: str, transactional_id: str | None = None) -> bool:
    options = kafka.client_options() | {"request_timeout_ms": 3_000}
    producer = AIOKafkaProducer(transactional_id=transactional_id, **options)
    try:
        async with asyncio.timeout(REFUSED_S):
            await producer.start()
            if transactional_id is None:
                await producer.send_and_wait(topic, b"x", b"x")
    except (KafkaError, TimeoutError):
        return False
    finally:
        await producer.stop()
    return True


async def test_what_is_not_granted_is_refused(broker: ScramKafka) -> None:
    """Reading and writing of each topic, joining the workers' group, and posing as a worker's transaction."""
    await asyncio.gather(*(_may_do_its_part_only(user, settings(broker, user)) for user in USERS))


async def _may_do_its_part_only(user: str, kafka: KafkaSettings) -> None:
    """Much of it is refused by a client's time-out, so all is tried at the same time."""
    may_read, may_write, serves, other_group, poses = await asyncio.gather(
        asyncio.gather(*(reads(kafka, topic) for topic in TOPICS)),
        asyncio.gather(*(writes(kafka, topic) for topic in TOPICS)),
        reads(kafka, REQUESTS, "pelton"),
        reads(kafka, REPLIES, "another-group"),
        writes(kafka, REPLIES, "pelton-inference.requests-0"),
    )
    assert {topic for topic, may in zip(TOPICS, may_read, strict=True) if may} == MAY_READ[user]
    assert {topic for topic, may in zip(TOPICS, may_write, strict=True) if may} == MAY_WRITE[user]
    assert (serves, other_group, poses) == (user == "worker", False, user == "worker"), user


async def test_a_wrong_password_is_one_sentence(broker: ScramKafka) -> None:
    """That names user and setting, over TLS with SCRAM as with any other way in."""
    with pytest.raises(BrokerUnreachable, match=r"refuses the user 'sender'.*kafka\.sasl_password") as wrong:
        await look_up(settings(broker, "sender", sasl_password="not the right one"))  # noqa: S106  # wrong on purpose
    assert "\n" not in str(wrong.value)
