"""What a worker process goes by in its group: a name for each life of each worker of each machine."""

import secrets
import socket


def new_identity(number: int) -> str:
    return f"{socket.gethostname()}-{number}-{secrets.token_hex(4)}"


def number_in(identity: str) -> int:
    """The number that a name was made with."""
    return int(identity.rsplit("-", 2)[1])
