"""Valkeys as operators have them: in cluster mode, with passwords and rights, with a policy for what is too much."""

import redis

from pelton.stack.ports import LOOPBACK, free_port
from pelton.stack.valkey import ValkeyConfig, ValkeyServer

PASSWORD = "right"  # noqa: S105  # made up
LIMITED = "limited"
LOCKED = ("--requirepass", PASSWORD, "--user", LIMITED, "on", f">{PASSWORD}", "~other:*", "+@all")
EVICTING = ("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")


class Sentinel(ValkeyServer):
    """It watches over servers, and keeps nothing."""

    def __init__(self) -> None:
        super().__init__(ValkeyConfig())

    def command(self) -> list[str]:
        config = self.folder / "sentinel.conf"
        config.write_text(f"port {self.port}\nbind {LOOPBACK}\ndir {self.folder}\n")
        return [super().command()[0], str(config), "--sentinel"]


class OddValkey(ValkeyServer):
    """One with options of its own."""

    def __init__(self, *options: str) -> None:
        super().__init__(ValkeyConfig())
        self._options = options

    def command(self) -> list[str]:
        return [*super().command(), *self._options]

    def answers(self) -> bool:
        """That it wants a password is an answer too."""
        try:
            with redis.Redis(host=LOOPBACK, port=self.port, socket_timeout=2.0) as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False


def in_cluster_mode() -> OddValkey:
    """Its second port is chosen too: ten thousand above the first, which is usual, other programs have theirs."""
    return OddValkey("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
