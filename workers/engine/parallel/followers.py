"""The other ranks as the first one sees them: joined, spoken to, watched, and ended.

Each has a pipe to the first rank. It carries what to compute, in order, and its end says that whoever was there is
gone, however it went: a follower ends with the first rank, and the engine with any of its followers.
"""

import contextlib
import queue
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Self

import torch
import torch.distributed as dist

from pelton.workers.engine.errors import EngineLostError, ModelLoadError
from pelton.workers.engine.parallel.messages import Begin, Done, End, Failed, Join, Load, Message, Reply
from pelton.workers.engine.parallel.process_group import Group
from pelton.workers.engine.parallel.processes import LEAVE_S, RankProcess, abandon

START_S, JOIN_S, LOAD_S = 300.0, 120.0, 3600.0
WAIT_S = 60.0
"""How long a rank waits for the others in the middle of a step; they begin it together and have the same to do."""
_NOTICE_S = 2.0
"""By then it is known whether a step failed for the end of a follower."""


@dataclass(slots=True, eq=False)
class _Follower:
    started: RankProcess
    replies: queue.SimpleQueue[Reply | None] = field(default_factory=queue.SimpleQueue)
    """None: there come no more."""


class Followers:
    """All ranks but the first. A loss is reported once, by `on_lost`, and raised by whatever is asked after that."""

    def __init__(self, followers: list[_Follower], folder: Path, on_lost: Callable[[Exception], None]) -> None:
        self._followers = followers
        self._folder = folder
        self._on_lost = on_lost
        self._serving = False
        self._closing = False
        self._lost: EngineLostError | None = None
        self._losing = threading.Lock()
        self._noticed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="followers", daemon=True)
        self._watcher.start()

    @classmethod
    def start(
        cls,
        processes: list[RankProcess],
        device_type: str,
        on_lost: Callable[[Exception], None] = lambda _: None,
        wait_s: float = WAIT_S,
    ) -> Self:
        """Join the processes that `spawn` gave as rank 0, and take them over.

        `on_lost` is called in any thread when one of them has ended, and may end the process. Raises ModelLoadError.
        """
        if dist.is_initialized():
            abandon(processes)
            raise ModelLoadError("engine.tensor_parallel: this process has such an engine already; close it first")
        folder = Path(tempfile.mkdtemp(prefix="pelton-ranks-"))
        started = cls([_Follower(each) for each in processes], folder, on_lost)
        threads = max(1, torch.get_num_threads() // started.ranks)
        group = Group(started.ranks, folder / "meeting", device_type, wait_s, threads)
        try:
            started._replies(START_S)  # that it has come up: joining must not wait for imports
            started._ask(Join(group))
            group.join(0)
            started._replies(JOIN_S)
        except BaseException:
            started.close()
            raise
        return started

    @property
    def ranks(self) -> int:
        """How many there are, the first included."""
        return len(self._followers) + 1

    def load(self, message: Load, own: Callable[[], Done]) -> list[Done]:
        """Have all ranks load their parts, this one by `own`, at the same time. Raises ModelLoadError."""
        self._ask(message)
        try:
            mine = own()
        except Exception:
            self._replies_of_the_gone(_NOTICE_S)
            raise
        return [mine, *self._replies(LOAD_S)]

    def begin(self, message: Begin) -> None:
        """Have all make room for keys and values; from now on the end of any is reported. Raises ModelLoadError."""
        self._ask(message)
        self._replies(LOAD_S)
        self._serving = True

    def send(self, message: Message) -> None:
        """Say what follows in all ranks. Raises EngineLostError."""
        if self._lost is not None:
            raise self._lost
        try:
            self._tell(message)
        except OSError as error:
            raise self._explained(error) from error

    @contextlib.contextmanager
    def in_step(self) -> Iterator[None]:
        """Within it all ranks compute the same; what fails in it leaves them out of step.

        Raises EngineLostError in place of whatever is raised.
        """
        try:
            yield
        except Exception as error:
            raise self._explained(error) from error

    def close(self) -> None:
        """End all of them, and leave the group; a second call does nothing."""
        if self._closing:
            return
        self._closing = True
        with contextlib.suppress(OSError):
            self._tell(End())
        for follower in self._followers:
            follower.started.end()
        self._watcher.join(LEAVE_S)
        for follower in self._followers:
            follower.started.pipe.close()
        if dist.is_initialized():
            dist.destroy_process_group()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _tell(self, message: Message) -> None:
        for follower in self._followers:
            follower.started.pipe.send(message)

    def _ask(self, message: Message) -> None:
        """Say what is answered: `_replies` names whoever is gone by now."""
        with contextlib.suppress(OSError):
            self._tell(message)

    def _replies(self, limit_s: float) -> list[Done]:
        found = []
        for follower in self._followers:
            try:
                found.append(_done(follower, follower.replies.get(timeout=limit_s)))
            except queue.Empty:
                raise ModelLoadError(
                    f"engine.tensor_parallel: the process of rank {follower.started.rank} has said nothing for "
                    f"{limit_s:.0f} s"
                ) from None
        return found

    def _replies_of_the_gone(self, limit_s: float) -> None:
        """Raises ModelLoadError for the first that has ended by then: what fails here may be its doing."""
        for follower in self._followers:
            with contextlib.suppress(queue.Empty):
                _done(follower, follower.replies.get(timeout=limit_s))

    def _watch(self) -> None:
        there = {follower.started.pipe: follower for follower in self._followers}
        while there:
            for pipe in wait(list(there)):
                follower = there[pipe]  # type: ignore[index]  # only connections were given
                try:
                    reply: Reply | None = follower.started.pipe.recv()
                except (EOFError, OSError):
                    reply = None
                follower.replies.put(reply)
                if not isinstance(reply, Done):
                    del there[follower.started.pipe]
                    if self._serving and not self._closing:
                        self._noticed.set()
                        self._lose(_end_of(follower, reply))

    def _explained(self, error: Exception) -> EngineLostError:
        """Whoever ended is the cause, if anybody did; else what was raised."""
        self._noticed.wait(_NOTICE_S)
        return self._lose(
            "engine.tensor_parallel: a step failed, and its processes are out of step by it "
            f"({type(error).__name__}: {error})"
        )

    def _lose(self, sentence: str) -> EngineLostError:
        """The first cause counts. Who comes second waits until the first was reported, which may end this process."""
        with self._losing:
            if self._lost is None:
                self._lost = EngineLostError(sentence)
                for follower in self._followers:  # a frozen one would stay
                    follower.started.process.kill()
                self._on_lost(self._lost)
            return self._lost


def _end_of(follower: _Follower, reply: Failed | None) -> str:
    """In one sentence."""
    how = follower.started.how_it_ended() if reply is None else f"failed: {reply.reason}"
    return f"engine.tensor_parallel: the process of rank {follower.started.rank} {how}"


def _done(follower: _Follower, reply: Reply | None) -> Done:
    """Raises ModelLoadError in place of any other reply."""
    if isinstance(reply, Done):
        return reply
    raise ModelLoadError(reply.reason if reply is not None and reply.by_settings else _end_of(follower, reply))
