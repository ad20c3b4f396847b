"""A rank other than the first: computes its part of each step, as the first one says (`parallel/followers.py`).

Started as a process with its pipe's descriptor and its rank. It ends when the pipe does, wherever it is by then, and
takes no signal for its own: who stops the first rank lets it finish what runs.
"""

import gc
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from queue import SimpleQueue

import torch
import torch.distributed as dist

from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.attention.packed_batch import PackedBatch
from pelton.workers.engine.attention.quantised_kv import kv_cache
from pelton.workers.engine.config import EngineLimits
from pelton.workers.engine.continuous.model_runner import PackedRunner
from pelton.workers.engine.continuous.step_attention import step_attention
from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.faults import memory_lasts
from pelton.workers.engine.model.loading import LoadedModel, load
from pelton.workers.engine.model.supported import kv_shape
from pelton.workers.engine.parallel.messages import (
    Begin,
    Done,
    End,
    Failed,
    Join,
    Load,
    Message,
    StepInput,
    Wipe,
)  # fmt: skip


class _Part:
    """A model's part with its pages."""

    def __init__(self, loaded: LoadedModel, limits: EngineLimits, pages: int) -> None:
        shape = kv_shape(loaded.model.config, limits.kv_dtype, loaded.kv_heads)
        with memory_lasts("lower engine.kv_memory_gib"):
            self._store: KVCache = kv_cache(shape, pages, limits.page_size, dtype=loaded.dtype, device=loaded.device)
        self._runner = PackedRunner(loaded.model, self._store, step_attention(loaded, limits))

    @torch.inference_mode()
    def compute(self, step: StepInput) -> None:
        self._runner.compute(PackedBatch.pack(step.tokens, step.spans, step.logit_rows, self._store))

    def wipe(self, pages: tuple[int, ...]) -> None:
        self._store.zero(pages)


class _Follower:
    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._loaded: LoadedModel | None = None
        self._part: _Part | None = None

    def obey(self, message: Message) -> Done | None:
        """Do what the first rank says; the answer, if it waits for one."""
        if isinstance(message, StepInput | Wipe) and self._part is not None:
            if isinstance(message, Wipe):
                self._part.wipe(message.pages)
            else:
                self._part.compute(message)
            return None
        if isinstance(message, Join):
            message.group.join(self._rank)
            return Done()
        if isinstance(message, Load):
            self._part = self._loaded = None
            self._loaded = load(message.spec, message.cache_dir)
            return Done(self._loaded.weights_digest)
        if isinstance(message, Begin) and self._loaded is not None:
            self._part = _Part(self._loaded, message.limits, message.pages)
            gc.collect()
            gc.freeze()
            return Done()
        raise RuntimeError(f"{type(message).__name__} came before what it needs")


def _receive(pipe: Connection, inbox: "SimpleQueue[Message]") -> None:
    """Ends the process with the pipe: whatever it computes, nobody is left to take it."""
    while True:
        try:
            inbox.put(pipe.recv())
        except (EOFError, OSError):
            os._exit(0)


def main() -> None:
    """Run until asked to end, or until the first rank is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    pipe, rank = Connection(int(sys.argv[1])), int(sys.argv[2])
    inbox: SimpleQueue[Message] = SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, inbox), name="pipe", daemon=True).start()
    follower = _Follower(rank)
    try:
        pipe.send(Done())
        while not isinstance(message := inbox.get(), End):
            reply = follower.obey(message)
            if reply is not None:
                pipe.send(reply)
        dist.destroy_process_group()
    except Exception as error:  # noqa: BLE001  # whatever it is, the first rank says it
        by_settings = isinstance(error, ModelLoadError)
        pipe.send(Failed(str(error) if by_settings else f"{type(error).__name__}: {error}", by_settings))
    pipe.close()
    os._exit(0)  # threads of libraries may wait for ranks that are gone


if __name__ == "__main__":
    main()
