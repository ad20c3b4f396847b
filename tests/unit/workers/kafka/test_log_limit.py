"""What Kafka's client logs for each attempt is logged once in a while, and what is usual is no warning."""

import logging
from collections.abc import Iterator

import pytest

from pelton.workers.kafka.log_limit import EVERY_S, OnceInAWhile


@pytest.fixture
def client() -> Iterator[logging.Logger]:
    """The client's logger, limited as a worker limits it."""
    logger = logging.getLogger("aiokafka.consumer.group_coordinator")
    limit, level = OnceInAWhile(), logger.level
    logger.addFilter(limit)
    yield logger
    logger.removeFilter(limit)
    logger.setLevel(level)


def test_one_wording_passes_now_and_then(client, caplog, monkeypatch):
    """Whatever its values; another wording passes too."""
    now = 0.0
    monkeypatch.setattr("pelton.workers.kafka.log_limit.time.monotonic", lambda: now)
    for attempt in range(100):
        client.error("attempt %d", attempt)
    client.error("other words")
    now = EVERY_S
    client.error("attempt %d", 100)
    assert caplog.messages == ["attempt 0", "other words", "attempt 100"]


@pytest.mark.parametrize(("level", "lines"), [(logging.WARNING, 0), (logging.INFO, 1)], ids=["usual", "verbose"])
def test_a_rebalance_is_no_trouble(client, caplog, level, lines):
    """Each worker that joins or leaves makes one; whoever asks for the client's words gets them."""
    client.setLevel(level)
    client.warning("Heartbeat failed for group %s because it is rebalancing", "pelton")
    assert len(caplog.messages) == lines
