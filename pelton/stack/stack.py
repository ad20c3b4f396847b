"""Kafka and Valkey together: what Pelton needs to run on one machine."""

import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pelton.stack.kafka import KafkaConfig, KafkaServer
from pelton.stack.valkey import ValkeyConfig, ValkeyServer


@dataclass(frozen=True, slots=True)
class StackConfig:
    data: Path | None = None
    """Both servers keep their data below it; without it, in temporary folders that go with the stack."""
    kafka_port: int = 0
    """0 takes any free port."""
    valkey_port: int = 0
    """0 takes any free port."""


class LocalStack:
    """Both servers, from `start()` to `close()`, or for as long as the context lasts."""

    def __init__(self, config: StackConfig) -> None:
        data = config.data
        self.kafka = KafkaServer(KafkaConfig(config.kafka_port, data and data / "kafka"))
        self.valkey = ValkeyServer(ValkeyConfig(config.valkey_port, data and data / "valkey"))

    @property
    def env(self) -> dict[str, str]:
        """The settings that lead Pelton's processes here."""
        return {
            "PELTON_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "PELTON_KAFKA__CREATE_TOPICS": "true",  # of `pelton serve` and the report service, which are not there yet
            "PELTON_CACHE__REDIS_URL": self.valkey.url,
        }

    @property
    def exports(self) -> list[str]:
        """`env` as a shell's export commands."""
        return [f"export {name}={shlex.quote(value)}" for name, value in self.env.items()]

    def start(self) -> None:
        """Start both at once and wait until both answer. Raises `StackError` where one cannot; then none runs."""
        try:
            self._start_both()
        except BaseException:
            self.close()
            raise

    def _start_both(self) -> None:
        with ThreadPoolExecutor(2) as pool:
            try:
                for starting in [pool.submit(self.kafka.start), pool.submit(self.valkey.start)]:
                    starting.result()
            except BaseException:  # the pool waits for both
                self.kafka.give_up()
                self.valkey.give_up()
                raise

    def check(self) -> None:
        """Raises `StackError`, with the end of its log, when one of the servers has ended."""
        self.kafka.check()
        self.valkey.check()

    def close(self) -> None:
        self.valkey.close()
        self.kafka.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
