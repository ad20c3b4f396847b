"""The worked example of docs/guides/experiments.md, as it stands there, with real processes and simulated models."""

import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.client import InferenceClient
from pelton.stack.kafka import KafkaConfig, KafkaServer

GUIDE = Path(__file__).parents[3] / "docs/guides/experiments.md"
ROUTER = (sys.executable, "-P", "-m", "pelton", "ab", "route")
ROUTER_S = 60
USERS, EACH = 40, 3


@pytest.fixture
def kafka_bootstrap() -> Iterator[str]:
    """One that nobody else uses: the names of topics and groups are the guide's."""
    with KafkaServer(KafkaConfig()) as server:
        yield server.bootstrap_servers


def block(language: str, holding: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    return next(each for each in found if holding in each)


def variables(command: str) -> dict[str, str]:
    """Those that a shell command sets for `pelton worker`."""
    return dict(word.split("=", 1) for word in shlex.split(command.replace("\\\n", " ")) if "=" in word)


async def test_the_worked_example(pelton, kafka_bootstrap: str, tmp_path: Path, eventually) -> None:
    """Requests reach both models under the headers that the guide names, and the report compares them."""
    config = tmp_path / "pelton.toml"
    config.write_text(block("toml", "[routing.experiments.reports.variants]"))
    pelton.environment = {"PELTON_KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap, "PELTON_CONFIG": str(config)}
    glm = variables(block("sh", "PELTON_MODEL__SERVED_NAME"))
    assert glm.pop("PELTON_MODEL__PATH")
    qwen = {name: value.replace("glm-4-9b", "qwen3-8b").replace("glm", "qwen") for name, value in glm.items()}
    for pool in (glm, qwen):
        pelton.start_worker(**pool, PELTON_ENGINE__KIND="simulated")
    router = pelton.launch_worker(ROUTER)
    eventually(lambda: "partitions of inference.requests are ours" in pelton.log(2), ROUTER_S)
    kafka = KafkaSettings(bootstrap_servers=kafka_bootstrap)
    users = [f"user-{number % USERS}" for number in range(USERS * EACH)]
    bodies = [
        {"model": "reports", "user": user, "messages": [{"role": "user", "content": f"{number}"}]}
        for number, user in enumerate(users)
    ]
    async with InferenceClient(kafka) as client:
        replies = [reply async for reply in client.submit_many(bodies, timeout_s=60)]
    models = {b"reports/now": b"glm-4-9b", b"reports/new": b"qwen3-8b"}
    for reply in replies:
        assert reply.headers["pelton-model"] == models[reply.headers["pelton-variant"]]
        assert reply.headers["pelton-route"] == b"weight"
    seen = Counter(reply.headers["pelton-variant"] for reply in replies)
    assert seen.keys() == models.keys()
    assert len({reply.headers["pelton-unit"] for reply in replies}) == USERS
    report = pelton.run("ab", "report", "reports", "--json")
    [told] = orjson.loads(report.stdout)
    assert {each["name"]: each["requests"] for each in told["variants"]} == {
        name.decode().removeprefix("reports/"): count for name, count in seen.items()
    }
    assert "latency" in pelton.run("ab", "report", "reports").stdout
    assigned = pelton.run("ab", "assign", "reports", "user-17").stdout.split()[1]
    seventeen = next(reply for reply in replies if reply.index == users.index("user-17"))
    assert seventeen.headers["pelton-variant"] == f"reports/{assigned}".encode()
    assert router.stop() == 0
