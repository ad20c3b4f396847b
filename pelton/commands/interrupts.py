"""Ctrl-C of a command that has requests on their way: once it stops, twice it takes them back, three times it dies."""

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from pelton.commands.common import Exit, Interrupted, stderr

T = TypeVar("T")

CHANCE_S = 3.0
"""How long after the first Ctrl-C the second may come; then the command ends."""
STOP, TAKE_BACK = 1, 2


class Interrupts:
    """Counts Ctrl-C while it is entered, in place of what asyncio does about it. The third ends the process at once."""

    def __init__(self) -> None:
        self._count = 0
        self._pressed = asyncio.Event()
        self._before = signal.getsignal(signal.SIGINT)

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._press)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, self._before)

    async def reached(self, count: int) -> None:
        """Wait until it was pressed so often."""
        while self._count < count:
            self._pressed.clear()
            await self._pressed.wait()

    def _press(self) -> None:
        self._count += 1
        self._pressed.set()
        if self._count > TAKE_BACK:
            stderr.show_cursor()  # a progress bar has hidden it
            os._exit(Exit.INTERRUPTED)


async def interruptible(
    work: Coroutine[Any, Any, T],
    unanswered: Callable[[], int],
    take_back: Callable[[], Awaitable[int]],
    interrupted: str,
) -> T:
    """Run `work`, which the first Ctrl-C breaks off. Raises `Interrupted`, and what `work` raises.

    Where requests are `unanswered` then, a second Ctrl-C within a few seconds has `take_back` cancel them, which says
    how many it has cancelled. `interrupted` says how to go on after the first.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        return await work
    with Interrupts() as interrupts:
        working, stopped = asyncio.ensure_future(work), asyncio.ensure_future(interrupts.reached(STOP))
        try:
            await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
        finally:
            for task in (working, stopped):
                task.cancel()
            await asyncio.gather(working, stopped, return_exceptions=True)
        if not (count := unanswered()):
            raise Interrupted(interrupted)
        _say(f"Nothing more is sent. {count:,} requests are unanswered: Ctrl-C within {CHANCE_S:g} s cancels them.")
        try:
            async with asyncio.timeout(CHANCE_S):
                await interrupts.reached(TAKE_BACK)
        except TimeoutError:
            raise Interrupted(interrupted) from None
        _say(f"Cancelling {count:,} requests; Ctrl-C ends this at once.")
        raise Interrupted(f"{await take_back():,} of {count:,} unanswered requests are cancelled. {interrupted}")


def _say(text: str) -> None:
    stderr.print(text, markup=False, highlight=False, soft_wrap=True)
