"""What a record's timestamp is worth."""

import logging
import time
from types import SimpleNamespace
from typing import Any

import pytest

from pelton.pipeline.wire.records import RequestRecord, Source
from pelton.workers.intake.poller import Poller


def poller() -> Poller:
    nothing: Any = SimpleNamespace()
    return Poller(
        consumer=nothing, assignment=nothing, policy=nothing, sessions=nothing, quotas=nothing, admission=nothing,
        addresses=nothing, metrics=nothing,
    )  # fmt: skip


def record(timestamp_ms: int) -> RequestRecord:
    return RequestRecord(Source("requests", 1, 41), None, b"{}", [], timestamp_ms, 0)


def test_the_wait_in_kafka_is_read_from_the_timestamp() -> None:
    """Never below 0, whatever a sender's clock says."""
    now_ms = int(time.time() * 1000)
    assert poller()._queue_s(record(now_ms - 5_000)) == pytest.approx(5, abs=1)
    assert poller()._queue_s(record(now_ms + 60_000)) == 0


@pytest.mark.parametrize("timestamp_ms", [0, -1, 1_764_318_000])
def test_a_timestamp_of_nothing_is_no_wait_of_decades(timestamp_ms: int, caplog: pytest.LogCaptureFixture) -> None:
    """And is warned of once, with what to do: retention deletes such records early."""
    one = poller()
    with caplog.at_level(logging.WARNING):
        assert [one._queue_s(record(timestamp_ms)) for _ in range(100)] == [0.0] * 100
    (line,) = caplog.messages
    assert f"timestamp of {timestamp_ms}" in line
    assert "LogAppendTime" in line
