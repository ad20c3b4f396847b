"""Ports: a free one is free, a taken one is named."""

import socket
from collections.abc import Callable

import pytest

from pelton.stack.errors import StackError
from pelton.stack.kafka import KafkaConfig, KafkaServer
from pelton.stack.ports import LOOPBACK, free_port
from pelton.stack.server import Server
from pelton.stack.valkey import ValkeyConfig, ValkeyServer


def test_a_free_port_can_be_bound_and_is_no_clients() -> None:
    """It lies below the ports that Linux and macOS give to outgoing connections."""
    port = free_port()
    assert 1_024 < port < 32_768
    with socket.socket() as server:
        server.bind((LOOPBACK, port))


@pytest.mark.parametrize(
    ("server", "option"),
    [
        (lambda port: KafkaServer(KafkaConfig(port)), "--kafka-port"),
        (lambda port: ValkeyServer(ValkeyConfig(port)), "--valkey-port"),
    ],
    ids=["kafka", "valkey"],
)
def test_a_taken_port_is_named_with_the_option_that_changes_it(server: Callable[[int], Server], option: str) -> None:
    """Nothing is started, and the message says which port, of which server, and what to do."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=rf"cannot have port {port} .*{option}"):
            server(port).start()
