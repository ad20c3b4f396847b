"""Ctrl-C once stops a command, twice takes back what it sent, three times ends it at once."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from pelton.commands import interrupts
from pelton.commands.common import Exit, Interrupted
from pelton.commands.interrupts import interruptible

GO_ON = "Run it again to go on."
STUCK = """
import asyncio
from pelton.commands.common import run_async
from pelton.commands.interrupts import interruptible

async def forever():
    await asyncio.Event().wait()

async def main():
    asyncio.get_running_loop().call_soon(print, "runs", True)
    await interruptible(forever(), lambda: 3, forever, "Run it again.")

import builtins
print = lambda text, flush: builtins.print(text, flush=flush)
run_async(main())
"""


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


class Work:
    """Presses Ctrl-C when it has begun, and goes on until it is broken off."""

    def __init__(self) -> None:
        self.broken_off = False
        self.taken_back = 0

    async def run(self) -> str:
        asyncio.get_running_loop().call_soon(press)
        try:
            await asyncio.Event().wait()
        finally:
            self.broken_off = True
        return "never"

    async def take_back(self) -> int:
        self.taken_back += 1
        return 2


async def test_without_ctrl_c_nothing_is_changed() -> None:
    """What the work returns is returned, what it raises is raised, and asyncio's own handler is back."""
    before, work = signal.getsignal(signal.SIGINT), Work()

    async def done() -> str:
        return "done"

    async def broken() -> str:
        raise ValueError("broken")

    assert await interruptible(done(), lambda: 3, work.take_back, GO_ON) == "done"
    with pytest.raises(ValueError, match="broken"):
        await interruptible(broken(), lambda: 3, work.take_back, GO_ON)
    assert work.taken_back == 0
    assert signal.getsignal(signal.SIGINT) is before


async def test_once_it_stops_and_waits_a_little_for_the_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was sent stays sent."""
    monkeypatch.setattr(interrupts, "CHANCE_S", 0.1)
    work = Work()
    with pytest.raises(Interrupted, match=GO_ON):
        await interruptible(work.run(), lambda: 1_500, work.take_back, GO_ON)
    assert work.broken_off
    assert work.taken_back == 0
    assert "1,500 requests are unanswered: Ctrl-C within 0.1 s cancels them" in capsys.readouterr().err


async def test_twice_it_takes_back_what_was_sent() -> None:
    """And says how many that are."""
    work = Work()

    def count() -> int:
        assert work.broken_off
        asyncio.get_running_loop().call_soon(press)
        return 3

    with pytest.raises(Interrupted, match=r"2 of 3 unanswered requests are cancelled\. Run it"):
        await interruptible(work.run(), count, work.take_back, GO_ON)
    assert work.taken_back == 1


async def test_where_nothing_is_unanswered_it_ends_at_once() -> None:
    """There is nothing to take back."""
    work = Work()
    with pytest.raises(Interrupted, match=GO_ON):
        async with asyncio.timeout(interrupts.CHANCE_S / 2):
            await interruptible(work.run(), lambda: 0, work.take_back, GO_ON)
    assert work.taken_back == 0


def test_three_times_it_ends_at_once() -> None:
    """Though taking back hangs, as without a broker."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        assert process.stdout.readline() == "runs\n"
        for told in ("Nothing more is sent. 3 requests", "Cancelling 3 requests"):
            process.send_signal(signal.SIGINT)
            assert process.stderr.readline().startswith(told)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == Exit.INTERRUPTED
