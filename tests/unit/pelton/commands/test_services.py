"""What serves ends when it is told to: in good order, also while it starts, and within a bound."""

import asyncio
import os
import signal
import threading

import pytest
import typer

from pelton.commands import common
from pelton.commands.common import Exit, clear_errors, run_service
from pelton.commands.shared.within_reach import within_reach
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.errors import BrokerUnreachable


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_cancels_it_and_it_cleans_up(number: signal.Signals) -> None:
    """At its very first step, as in any later one; that is its usual end, and no error."""
    cleaned: list[str] = []

    async def serve() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    with clear_errors(until_stopped=True):
        run_service(serve)
    assert cleaned == ["up"]


def test_sigterm_before_it_is_a_usual_end_too() -> None:
    """While its settings are read."""
    with pytest.raises(typer.Exit) as ended, clear_errors(until_stopped=True):
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.exit_code == Exit.OK


@pytest.mark.parametrize("signals", [1, 2], ids=["limit", "second signal"])
def test_what_does_not_end_is_ended(signals: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the limit, however it waits, and at once when it is told a second time."""
    ended, left = threading.Event(), threading.Event()
    limit_s = 0.1 if signals == 1 else 60.0
    monkeypatch.setattr(common, "STOP_LIMIT_S", limit_s)
    monkeypatch.setattr(common, "_end_at_once", lambda _: ended.set())

    async def serve() -> None:
        for _ in range(signals):
            os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(left.wait)

    def let_go() -> None:
        assert ended.wait(30)
        left.set()

    helper = threading.Thread(target=let_go)
    helper.start()
    run_service(serve)
    helper.join()
    assert ended.is_set()


def test_a_fault_of_its_own_is_told() -> None:
    """Nobody told it to stop."""

    async def serve() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run_service(serve)


async def test_a_kafka_that_is_away_is_one_error(caplog: pytest.LogCaptureFixture) -> None:
    """The client's own lines say the same in other words; nothing is served."""
    served: list[str] = []

    async def serve() -> None:
        served.append("yes")

    with pytest.raises(BrokerUnreachable, match="cannot be reached"):
        await within_reach(KafkaSettings(bootstrap_servers="127.0.0.1:1"), serve)
    assert (caplog.records, served) == ([], [])
