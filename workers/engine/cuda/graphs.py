"""Steps as CUDA graphs: one for each of a few shapes, replayed without the host naming a kernel."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pelton.workers.engine.cuda.step_shape import StepShape
from pelton.workers.engine.faults import Fault

log = logging.getLogger(__name__)

# Steps with chunks run without a graph too: no start is to be held up by them for long.
_MIXED_S = 10.0


class Graphs:
    """Captured runs of `compute(shape)`, which reads and writes the same memory each time.

    `decodes` are the shapes of steps of one token per sequence, ascending, and `mixed` those of steps with chunks.
    `prepare(shape)` fills what such a run reads with numbers that mean nobody, for the run before a capture. Logits of
    steps with chunks are put into `logits` [wanted rows, vocab], where they lie until the next such step; each decode
    step keeps its own.
    """

    def __init__(
        self,
        compute: Callable[[StepShape], tuple[Tensor, Tensor]],
        decodes: Sequence[StepShape],
        mixed: Sequence[StepShape],
        prepare: Callable[[StepShape], object],
        logits: Tensor,
    ) -> None:
        self._compute = compute
        self._prepare = prepare
        self._decodes = decodes
        self._mixed = mixed
        self._logits = logits
        self._captured: dict[StepShape, tuple[torch.cuda.CUDAGraph, tuple[Tensor, Tensor]]] = {}

    @property
    def shapes(self) -> list[StepShape]:
        """All that are to be captured, in that order."""
        # The largest first, so that the others find room in their memory; those for many decodes before the others.
        order = sorted(self._mixed, key=lambda shape: (shape.singles, shape.chunked), reverse=True)
        return [*reversed(self._decodes), *order]

    def decode_shape(self, rows: int) -> StepShape:
        """The least that holds so many rows, captured or not."""
        return next(shape for shape in self._decodes if shape.singles >= rows)

    def mixed_shape(self, needed: StepShape) -> StepShape | None:
        """The least captured one that holds a step with chunks; None where it is to be computed as it is."""
        return next((shape for shape in self._mixed if shape.holds(needed) and shape in self._captured), None)

    def run(self, shape: StepShape) -> tuple[Tensor, Tensor]:
        """What `compute` gives, captured or not; valid until the next run that is queued behind it."""
        if shape not in self._captured:
            return self._compute(shape)
        graph, outputs = self._captured[shape]
        graph.replay()
        return outputs

    @torch.inference_mode()
    def capture(self) -> None:
        """Capture all shapes; of those with chunks, as many as time allows.

        Where it fails the steps run as they are: their kernels are launched one by one, and the log says why.
        """
        started, pool = time.perf_counter(), torch.cuda.graph_pool_handle()
        mixed_since: float | None = None
        for count, shape in enumerate(self.shapes, start=1):
            before = time.perf_counter()
            mixed_since = before if shape.chunked and mixed_since is None else mixed_since
            if mixed_since is not None and before - mixed_since > _MIXED_S:
                log.info("Captured %d of %d steps; the rest run as they are.", count - 1, len(self.shapes))
                return
            try:
                self._captured[shape] = self._capture(shape, pool)
            except Exception as error:
                fault = Fault.of(error)
                if fault.is_out_of_memory or fault.fatal:
                    raise
                log.warning("Steps of %d rows could not be captured and run slower.", shape.rows, exc_info=True)
                return
            seconds = time.perf_counter() - started
            log.info("Captured steps of %d rows (%d of %d, %.1f s).", shape.rows, count, len(self.shapes), seconds)

    def _capture(self, shape: StepShape, pool: Any) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, Tensor]]:
        self._prepare(shape)
        # Once uncaptured: kernels are compiled and libraries start up at their first call.
        self._compute(shape)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Other threads of a worker may use CUDA meanwhile; only this one's calls belong here.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            logits, chosen = self._compute(shape)
            if shape.wanted is not None:
                logits = self._logits[: shape.wanted].copy_(logits)
        return graph, (logits, chosen)
