"""Decode steps as CUDA graphs: one for each of a few numbers of rows, replayed without the host naming a kernel."""

import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pelton.workers.engine.faults import Fault

log = logging.getLogger(__name__)

_LEAST_ROWS = 2
_FINE, _COARSE = 256, 64


def buckets_for(most_rows: int) -> list[int]:
    """The numbers of rows that there are graphs for, ascending; the last holds `most_rows`.

    One row is computed as two: a compiled model is general over all numbers of rows but 1.
    """
    fine = [_LEAST_ROWS, 4, 8, *range(16, _FINE + 1, 16)]
    coarse = range(_FINE + _COARSE, most_rows + _COARSE, _COARSE)
    enough = [rows for rows in (*fine, *coarse) if rows < most_rows]
    return [*enough, max(_LEAST_ROWS, most_rows)]


class Graphs:
    """Captured runs of `decode(rows)`, which reads and writes the same memory each time.

    `prepare(rows)` fills what it reads with numbers that mean nobody, for the run before a capture.
    """

    def __init__(
        self,
        decode: Callable[[int], tuple[Tensor, Tensor]],
        buckets: list[int],
        prepare: Callable[[int], object],
    ) -> None:
        self._decode = decode
        self._prepare = prepare
        self._buckets = buckets
        self._captured: dict[int, tuple[torch.cuda.CUDAGraph, tuple[Tensor, Tensor]]] = {}

    def bucket(self, rows: int) -> int:
        """The least number of rows with a graph that holds so many."""
        return next(bucket for bucket in self._buckets if bucket >= rows)

    def run(self, bucket: int) -> tuple[Tensor, Tensor]:
        """What `decode` gives, captured or not; valid until the next run that is queued behind it."""
        if bucket not in self._captured:
            return self._decode(bucket)
        graph, outputs = self._captured[bucket]
        graph.replay()
        return outputs

    @torch.inference_mode()
    def capture(self) -> None:
        """Capture all buckets, the largest first, so that the smaller ones find room in its memory.

        Where it fails the steps run as they are: their kernels are launched one by one, and the log says why.
        """
        started = time.perf_counter()
        pool = torch.cuda.graph_pool_handle()
        for count, bucket in enumerate(reversed(self._buckets), start=1):
            try:
                self._captured[bucket] = self._capture(bucket, pool)
            except Exception as error:
                fault = Fault.of(error)
                if fault.is_out_of_memory or fault.fatal:
                    raise
                log.warning("Decode steps of %d rows could not be captured and run slower.", bucket, exc_info=True)
                return
            seconds = time.perf_counter() - started
            log.info("Captured decode steps of %d rows (%d of %d, %.1f s).", bucket, count, len(self._buckets), seconds)

    def _capture(self, bucket: int, pool: Any) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, Tensor]]:
        self._prepare(bucket)
        # Once uncaptured: kernels are compiled and libraries start up at their first call.
        self._decode(bucket)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Other threads of a worker may use CUDA meanwhile; only this one's calls belong here.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            outputs = self._decode(bucket)
        return graph, outputs
