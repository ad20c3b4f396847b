"""A table of wrong set-ups: each ends, soon, in one sentence that names the cause and the setting."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.errors import BrokerUnreachable
from pelton.producers.kafka.cluster import look_up
from pelton.stack.ports import LOOPBACK, free_port
from pelton.workers.kafka.topics import ensure_topics
from tests.e2e.secured_kafka import KEY_PASSWORD, PASSWORD, STRANGER, USER, Certificates, SecuredKafka, token
from tests.integration.cache.odd_valkey import LIMITED, LOCKED, OddValkey, in_cluster_mode
from tests.integration.cache.odd_valkey import PASSWORD as REDIS_PASSWORD

UNUSABLE = 2
AT_ONCE = 4
BOUND_S = 250
"""For one set-up on a busy machine; alone each takes about a second, or ten where it imports torch."""
NOWHERE = "no.such.host.invalid"
REQUEST = {"model": "default", "messages": [{"role": "user", "content": "hello"}]}


@dataclass(frozen=True)
class World:
    """What is there for the set-ups to be wrong about."""

    folder: Path
    kafka: SecuredKafka
    cluster: OddValkey
    locked: OddValkey
    taken: int

    @property
    def certificates(self) -> Certificates:
        return self.kafka.certificates

    def file(self, name: str, content: str | bytes) -> str:
        """Make a file; a name with a slash makes its folder too."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def model(self, name: str, *, tokenizer: bool = True, **config: object) -> str:
        """A folder that looks like a model's."""
        self.file(f"{name}/config.json", json.dumps({"model_type": "llama", **config}))
        self.file(f"{name}/model.safetensors", (2).to_bytes(8, "little") + b"{}")
        if tokenizer:
            self.file(f"{name}/tokenizer.json", "{}")
        return str(self.folder / name)

    @property
    def passworded(self) -> dict[str, object]:
        """Right in all."""
        return {
            "kafka.bootstrap_servers": self.kafka.with_password,
            "kafka.security_protocol": "SASL_SSL",
            "kafka.ssl_cafile": self.certificates.authority,
            "kafka.sasl_username": USER,
            "kafka.sasl_password": PASSWORD,
        }

    @property
    def certified(self) -> dict[str, object]:
        """Right but for the client's certificate."""
        return {
            "kafka.bootstrap_servers": self.kafka.with_certificate,
            "kafka.security_protocol": "SSL",
            "kafka.ssl_cafile": self.certificates.authority,
        }


Settings = Callable[[World], dict[str, object]]


@dataclass(frozen=True)
class Setup:
    """A command and what is wrong with its settings, and what it must say."""

    command: tuple[str, ...]
    settings: Settings
    named: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)


WORKER, ASK, SUBMIT = ("worker",), ("ask", "hello"), ("submit", "requests.jsonl", "--out", "out.jsonl")
SETUPS = {
    # Kafka
    "wrong password": Setup(
        WORKER, lambda at: at.passworded | {"kafka.sasl_password": "wrong"}, ("refuses the user", "kafka.sasl_password")
    ),
    "wrong password of a producer": Setup(
        ASK, lambda at: at.passworded | {"kafka.sasl_password": "wrong"}, ("refuses the user", "kafka.sasl_password")
    ),
    "untrusted CA": Setup(
        WORKER,
        lambda at: at.passworded | {"kafka.ssl_cafile": at.certificates.strange_authority},
        ("not trusted", "kafka.ssl_cafile"),
    ),
    "name that the certificate is not for": Setup(
        SUBMIT,
        lambda at: at.passworded | {"kafka.bootstrap_servers": f"localhost:{at.kafka.password_port}"},
        ("Hostname mismatch", "kafka.bootstrap_servers"),
    ),
    "no certificates in the CA's file": Setup(
        WORKER, lambda at: at.passworded | {"kafka.ssl_cafile": at.file("no.pem", "none")}, ("ssl_cafile", "in PEM")
    ),
    "unsupported mechanism": Setup(
        SUBMIT, lambda at: at.passworded | {"kafka.sasl_mechanism": "SCRAM-SHA-256"}, ("kafka.sasl_mechanism",)
    ),
    "TLS to a plain port": Setup(
        WORKER,
        lambda at: at.passworded | {"kafka.bootstrap_servers": at.kafka.bootstrap_servers},
        ("closes the connection", "kafka.security_protocol"),
    ),
    "plain text to a port with TLS": Setup(
        ASK,
        lambda at: {"kafka.bootstrap_servers": at.kafka.with_password},
        ("closes the connection", "kafka.security_protocol"),
    ),
    "password where none is asked for": Setup(
        WORKER,
        lambda at: (
            at.passworded
            | {"kafka.bootstrap_servers": at.kafka.bootstrap_servers, "kafka.security_protocol": "SASL_PLAINTEXT"}
        ),
        ("asks for no password", "kafka.security_protocol"),
    ),
    "no user": Setup(
        WORKER, lambda at: at.passworded | {"kafka.sasl_username": ""}, ("needs sasl_username and sasl_password",)
    ),
    "no client certificate": Setup(WORKER, lambda at: at.certified, ("wants a certificate", "kafka.ssl_certfile")),
    "client certificate of an unknown CA": Setup(
        ASK,
        lambda at: at.certified | {"kafka.ssl_certfile": at.certificates.strange_client},
        ("refuses the certificate", "kafka.ssl_certfile"),
    ),
    "key of another certificate": Setup(
        WORKER,
        lambda at: (
            at.certified
            | {"kafka.ssl_certfile": at.certificates.client, "kafka.ssl_keyfile": at.certificates.strange_client}
        ),
        ("ssl_keyfile", "is not the key of ssl_certfile"),
    ),
    "encrypted key without its password": Setup(
        SUBMIT,
        lambda at: (
            at.certified
            | {"kafka.ssl_certfile": at.certificates.client, "kafka.ssl_keyfile": at.certificates.locked_key}
        ),
        ("ssl_keyfile_password", "encrypted"),
    ),
    "expired token": Setup(
        ASK,
        lambda at: (
            at.passworded
            | {
                "kafka.sasl_mechanism": "OAUTHBEARER",
                "kafka.sasl_oauth_token_file": at.file("old", token(valid_s=-60)),
            }
        ),
        ("refuses the token", "kafka.sasl_oauth_token_file"),
    ),
    "empty token": Setup(
        WORKER,
        lambda at: (
            at.passworded
            | {"kafka.sasl_mechanism": "OAUTHBEARER", "kafka.sasl_oauth_token_file": at.file("empty", "\n")}
        ),
        ("sasl_oauth_token_file", "holds no token"),
    ),
    "user without rights": Setup(
        WORKER, lambda at: at.passworded | {"kafka.sasl_username": STRANGER}, ("does not allow", "'stranger' the ACL")
    ),
    "sender without rights": Setup(
        ASK, lambda at: at.passworded | {"kafka.sasl_username": STRANGER}, ("no topic", "'stranger' the ACL")
    ),
    "unknown host": Setup(
        ASK, lambda _: {"kafka.bootstrap_servers": f"{NOWHERE}:9092"}, ("not known to DNS", "kafka.bootstrap_servers")
    ),
    "no address": Setup(
        ASK,
        lambda _: {"kafka.bootstrap_servers": "localhost:kafka"},
        ("kafka.bootstrap_servers", "'localhost:kafka' is no address"),
    ),
    "nobody listens": Setup(
        SUBMIT,
        lambda _: {"kafka.bootstrap_servers": f"{LOOPBACK}:{free_port()}"},
        ("pelton up", "kafka.bootstrap_servers"),
    ),
    "topics that nobody may make": Setup(
        WORKER,
        lambda _: {"kafka.request_topics": '["not-there"]', "kafka.create_topics": "false"},
        ("not-there", "kafka.create_topics"),
    ),
    "bad name of a topic": Setup(
        WORKER, lambda _: {"kafka.request_topics": '["two words"]'}, ("kafka.request_topics.0", "'two words'")
    ),
    # Redis
    "Redis in cluster mode": Setup(
        WORKER, lambda at: {"cache.redis_url": at.cluster.url}, ("cluster mode", "cache.redis_url")
    ),
    "no password for Redis": Setup(
        WORKER, lambda at: {"cache.redis_url": at.locked.url}, ("asks for a password", "cache.password")
    ),
    "wrong password for Redis": Setup(
        WORKER,
        lambda at: {"cache.redis_url": at.locked.url, "cache.password": "wrong"},
        ("refuses the user 'default'", "cache.password"),
    ),
    "no rights in Redis": Setup(
        WORKER,
        lambda at: {"cache.redis_url": at.locked.url, "cache.username": LIMITED, "cache.password": REDIS_PASSWORD},
        ("'limited'", "pelton:*", "cache.username"),
    ),
    "Kafka in place of Redis": Setup(
        WORKER,
        lambda at: {"cache.redis_url": f"redis://{at.kafka.bootstrap_servers}"},
        ("names no Redis", "cache.redis_url"),
    ),
    "plain text to a TLS port in place of Redis": Setup(
        WORKER,
        lambda at: {"cache.redis_url": f"redis://{at.kafka.with_password}"},
        ("expects TLS", "cache.redis_url"),
    ),
    "TLS to a plain Redis": Setup(
        WORKER,
        lambda at: {"cache.redis_url": at.cluster.url.replace("redis://", "rediss://")},
        ("does not speak TLS", "cache.redis_url"),
    ),
    "unknown host of Redis": Setup(
        ("cache", "stats"),
        lambda _: {"cache.redis_url": f"redis://{NOWHERE}"},
        ("not known to DNS", "cache.redis_url"),
    ),
    "no Redis there": Setup(
        ("cache", "purge", "--all"),
        lambda _: {"cache.redis_url": f"redis://{LOOPBACK}:{free_port()}"},
        ("pelton up", "cache.redis_url"),
    ),
    # Model
    "no such model": Setup(
        WORKER, lambda _: {"engine.kind": "continuous", "model.path": "/nowhere/model"}, ("model.path", "no folder")
    ),
    "adapter only": Setup(
        WORKER,
        lambda at: {
            "engine.kind": "continuous",
            "model.path": str(Path(at.file("adapter/adapter_config.json", "{}")).parent),
        },
        ("model.path", "adapter"),
    ),
    "no tokenizer": Setup(
        WORKER,
        lambda at: {"engine.kind": "continuous", "model.path": at.model("bare", tokenizer=False)},
        ("model.path", "tokenizer"),
    ),
    "unknown quantisation": Setup(
        WORKER,
        lambda at: {
            "engine.kind": "continuous",
            "model.path": at.model("packed", quantization_config={"quant_method": "by-hand"}),
        },
        ("model.path", "by-hand"),
    ),
    "model that the hub does not give": Setup(
        WORKER,
        lambda _: {"engine.kind": "continuous", "model.path": "nobody/nothing-of-the-kind"},
        ("model.path", "hub"),
        {"HF_HUB_OFFLINE": "1"},
    ),
    # The machine
    "taken metrics port": Setup(
        WORKER, lambda at: {"worker.metrics_port": at.taken}, ("worker.metrics_port", "another process listens")
    ),
    "metrics on another machine's address": Setup(
        WORKER,
        lambda _: {"worker.metrics_port": 0, "worker.metrics_host": "192.0.2.1"},
        ("worker.metrics_host", "192.0.2.1"),
    ),
    "no such batch file": Setup(("submit", "nowhere.jsonl", "--out", "out.jsonl"), lambda _: {}, ("nowhere.jsonl",)),
    "question that is no UTF-8": Setup(("ask", "\udcff"), lambda _: {}, ("question", "UTF-8")),
    "settings file where nothing can be written": Setup(
        ("up", "--env-file", "nowhere/stack.env"), lambda _: {}, ("nowhere/stack.env", "No such file")
    ),
    # Configuration
    "file that is not TOML": Setup(
        WORKER, lambda _: {}, ("bad.toml is not TOML", "line 1"), {"PELTON_CONFIG": "bad.toml"}
    ),
    "unknown name in the file": Setup(
        WORKER, lambda _: {}, ("worker.replica:", "did you mean worker.replicas?"), {"PELTON_CONFIG": "typo.toml"}
    ),
    "misspelt section of a variable": Setup(
        ASK, lambda _: {"kafak.group_id": "x"}, ("PELTON_KAFAK__GROUP_ID", "did you mean PELTON_KAFKA__GROUP_ID")
    ),
    "misspelt variable": Setup(
        WORKER, lambda _: {"worker.replica": "2"}, ("worker.replica:", "did you mean worker.replicas?")
    ),
    "number out of range": Setup(
        WORKER, lambda _: {"kafka.replication_factor": "0"}, ("kafka.replication_factor", "at least one copy")
    ),
    "secret in a file that is not there": Setup(
        WORKER, lambda _: {"cache.password_file": "/nowhere"}, ("PELTON_CACHE__PASSWORD_FILE", "cannot be read")
    ),
}


RIGHT: dict[str, Settings] = {
    "password": lambda at: at.passworded,
    "token": lambda at: (
        at.passworded
        | {"kafka.sasl_mechanism": "OAUTHBEARER", "kafka.sasl_oauth_token_file": at.file("token", token())}
    ),
    "certificate": lambda at: at.certified | {"kafka.ssl_certfile": at.certificates.client},
    "certificate with an encrypted key": lambda at: (
        at.certified
        | {
            "kafka.ssl_certfile": at.certificates.client,
            "kafka.ssl_keyfile": at.certificates.locked_key,
            "kafka.ssl_keyfile_password": KEY_PASSWORD,
        }
    ),
}


@dataclass(frozen=True)
class End:
    """How a command ended, and after how long."""

    code: int
    said: str
    seconds: float


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("setups")
    (folder / "requests.jsonl").write_text(
        json.dumps({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": REQUEST}) + "\n"
    )
    (folder / "bad.toml").write_text("kafka =\n")
    (folder / "typo.toml").write_text("[worker]\nreplica = 2\n")
    with ExitStack() as running:
        taken = running.enter_context(socket.create_server((LOOPBACK, 0)))
        yield World(
            folder,
            running.enter_context(SecuredKafka(Certificates(folder))),
            running.enter_context(in_cluster_mode()),
            running.enter_context(OddValkey(*LOCKED)),
            taken.getsockname()[1],
        )


@pytest.fixture(scope="module")
def ends(world: World) -> Iterator[dict[str, Future[End]]]:
    """All of them, some at a time; those that import most begin first."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        order = sorted(SETUPS, key=lambda name: "engine.kind" not in SETUPS[name].settings(world))
        yield {name: pool.submit(_end_of, SETUPS[name], world) for name in order}


def _end_of(setup: Setup, world: World) -> End:
    settings = {
        "engine.kind": "simulated",
        "kafka.bootstrap_servers": world.kafka.bootstrap_servers,
        "kafka.create_topics": "true",
        "kafka.partitions": "1",
        **setup.settings(world),
    }
    variables = {f"PELTON_{name.replace('.', '__').upper()}": str(value) for name, value in settings.items()}
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "pelton", *setup.command],
        cwd=world.folder,
        env={**inherited, **variables, **setup.variables},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )
    return End(ended.returncode, ended.stderr, time.monotonic() - began)


@pytest.mark.parametrize("name", SETUPS)
def test_it_ends_in_one_sentence(name: str, ends: dict[str, Future[End]]) -> None:
    """Exit code 2, and nothing else on stderr than what is said in the course of events; no traceback, no restart."""
    end = ends[name].result()
    told = [line for line in end.said.splitlines() if " INFO " not in line]
    assert end.code == UNUSABLE, end.said
    assert told[0].startswith("pelton: "), end.said
    assert len(told) == (2 if told[0].endswith("cannot be used:") else 1), end.said
    for words in SETUPS[name].named:
        assert words in "\n".join(told)
    assert "starting it again" not in end.said


@pytest.mark.parametrize("name", RIGHT)
async def test_the_right_ones_get_in(name: str, world: World) -> None:
    """Password, token and certificate, each as it should be: topics are made, and producers find them."""
    settings = {setting.partition(".")[2]: value for setting, value in RIGHT[name](world).items()}
    kafka = KafkaSettings.model_validate({**settings, "create_topics": True, "partitions": 1})
    await ensure_topics(kafka)
    assert (await look_up(kafka, kafka.reply_topic)).topics[kafka.reply_topic].partitions == 1


async def test_a_token_is_read_again_for_each_login(world: World) -> None:
    """What renews it writes it anew while the process runs."""
    file = Path(world.file("renewed", token(valid_s=-60)))
    settings = {setting.partition(".")[2]: value for setting, value in world.passworded.items()}
    kafka = KafkaSettings.model_validate(
        {**settings, "sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_file": file, "request_timeout_ms": 5_000}
    )
    with pytest.raises(BrokerUnreachable, match="refuses the token"):
        await look_up(kafka)
    world.file("renewed", token())
    assert (await look_up(kafka)).id
    world.file("renewed", "")
    with pytest.raises(BrokerUnreachable, match=r"kafka\.sasl_oauth_token_file .* holds no token"):
        await look_up(kafka)
