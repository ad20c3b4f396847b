"""Processes that share the machine with what is measured: loops of arithmetic, as many cores' worth as asked for."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import psutil

_BETWEEN_LOOKS = 1_000_000


class Neighbours:
    """Loops of arithmetic, each a process; they compute only while `busy`, and end with the block or the parent."""

    def __init__(self, count: int) -> None:
        processes = multiprocessing.get_context("spawn")
        self._processes = [
            processes.Process(target=_compute, args=(os.getpid(),), daemon=True, name=f"neighbour-{number}")
            for number in range(count)
        ]

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        self._signal(psutil.Process.suspend)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.join()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Let them compute for the length of the block."""
        self._signal(psutil.Process.resume)
        try:
            yield
        finally:
            self._signal(psutil.Process.suspend)

    @property
    def cpu_seconds(self) -> float:
        """What they have taken of all processors together."""
        times = [psutil.Process(process.pid).cpu_times() for process in self._processes]
        return float(sum(each.user for each in times))

    def _signal(self, send: Callable[[psutil.Process], None]) -> None:
        for process in self._processes:
            send(psutil.Process(process.pid))


def _compute(parent: int) -> None:
    while os.getppid() == parent:
        number = 1
        for each in range(_BETWEEN_LOOKS):
            number = (number * 31 + each) & 0xFFFFFFFF
