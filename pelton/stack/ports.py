"""Loopback ports for the servers of the local stack."""

import random
import socket

from pelton.stack.errors import StackError

LOOPBACK = "127.0.0.1"

# Below the range from which systems take the local ports of outgoing connections. A client that retries while its
# server is down could otherwise be given the server's own port, connect to itself, and keep the server from returning.
_QUIET_PORTS = range(20_000, 32_000)
_TRIES = 100


def free_port() -> int:
    """A port nothing listens on now; it is not reserved.

    Raises `StackError` when a hundred random ones were all taken.
    """
    for port in random.sample(_QUIET_PORTS, _TRIES):
        if _is_free(port):
            return port
    raise StackError(
        f"No free port among {_TRIES} tried between {_QUIET_PORTS.start} and {_QUIET_PORTS.stop} on {LOOPBACK}."
    )


def require_free(port: int, *, server: str, option: str) -> None:
    """Raises `StackError` where something listens on `port`; `option` names what chooses another port."""
    if not _is_free(port):
        raise StackError(
            f"{server} cannot have port {port} on {LOOPBACK}: something listens there already. Stop it, or choose"
            f" another port with {option} (0 takes any free one)."
        )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers themselves bind: connections of a predecessor that linger in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
