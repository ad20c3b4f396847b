"""Pins another version of Kafka: `python -m pelton.stack.repin VERSION` rewrites `kafka-jars.toml`.

It resolves what the server needs at run time and a logging backend that fits, downloads everything, and writes down
the checksums. Run the tests of the stack afterwards, and review the difference.
"""

import argparse
import tempfile
from pathlib import Path

from jgo.maven import Artifact, MavenContext

from pelton.stack.jars import PINS, Jar, Pins, sha256

_BACKEND = "org.slf4j:slf4j-simple"
_READ_TIMEOUT_S = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", help="a released version of Kafka, for example 4.2.1")
    version = parser.parse_args().version
    with tempfile.TemporaryDirectory() as folder:
        context = MavenContext(repo_cache=Path(folder), timeout=_READ_TIMEOUT_S)
        artifacts = _closure(context, version)
        jars = [Jar(f"{one.groupId}:{one.artifactId}:{one.version}", sha256(one.resolve())) for one in artifacts]
    PINS.write_text(_as_toml(Pins(version, tuple(sorted(jars, key=lambda jar: jar.coordinate)))), "utf-8")


def _closure(context: MavenContext, version: str) -> list[Artifact]:
    server = context.create_dependency(f"org.apache.kafka:kafka_2.13:{version}")
    _, needed = context.resolver.resolve([server])
    facade = next(one.version for one in needed if one.artifactId == "slf4j-api")
    backend = context.create_dependency(f"{_BACKEND}:{facade}")
    return [one.artifact for one in (server, backend, *needed)]


def _as_toml(pins: Pins) -> str:
    jars = "\n".join(f'    {{ coordinate = "{jar.coordinate}", sha256 = "{jar.sha256}" }},' for jar in pins.jars)
    return (
        "# What the server of Apache Kafka needs at run time, from Maven Central.\n"
        "# Written by `python -m pelton.stack.repin VERSION`.\n"
        f'version = "{pins.version}"\njars = [\n{jars}\n]\n'
    )


if __name__ == "__main__":
    main()
