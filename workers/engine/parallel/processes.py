"""Starts the processes of the other ranks. Imports no torch, so that they import it while the first rank does."""

import contextlib
import signal
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection

LEAVE_S = 5.0
"""How long one may take to end that was asked to leave, or whose pipe has ended."""
_MODULE = "pelton.workers.engine.continuous.follower"


@dataclass(frozen=True, slots=True, eq=False)
class RankProcess:
    """The process of a rank, and this process's end of the pipe to it."""

    rank: int
    process: subprocess.Popen[bytes]
    pipe: Connection

    @classmethod
    def spawn(cls, rank: int) -> "RankProcess":
        ours, theirs = Pipe()
        with theirs:
            process = subprocess.Popen(  # noqa: S603  # this very program
                [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), str(rank)],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
            )
        return cls(rank, process, ours)

    def end(self) -> None:
        """Wait for it to leave, and kill it if it does not."""
        try:
            self.process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(LEAVE_S)

    def how_it_ended(self) -> str:
        """In words, once its pipe has."""
        try:
            code = self.process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            return "does not answer any more"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


def spawn(ranks: int) -> list[RankProcess]:
    """Ranks 1 and up. `Followers` takes them over; whoever does not come to that calls `abandon`."""
    return [RankProcess.spawn(rank) for rank in range(1, ranks)]


def abandon(processes: list[RankProcess]) -> None:
    """End processes that nothing was said to yet."""
    for each in processes:
        each.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            each.process.wait(LEAVE_S)
        each.pipe.close()
