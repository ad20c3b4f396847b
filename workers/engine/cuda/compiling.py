"""The model's body through `torch.compile`: what lies between its matrix products becomes one kernel each."""

import logging
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pelton.workers.engine.faults import Fault

log = logging.getLogger(__name__)


def compile_body(model: Any, cache: Path | None, first_run: Callable[[], None]) -> None:
    """Compile the layers of a causal language model in place, by a first run of it.

    One compilation is general over all numbers of rows but 1. What it gives is kept for later starts, in `cache` where
    that was made known (`environment.keep_kernels`). Where it fails the model runs as it is: slower, and the log says
    why.
    """
    where = cache or "a temporary folder"
    log.info("Compiling the model: a minute or more at the first start, kept in %s for later ones.", where)
    started = time.perf_counter()
    body = model.base_model
    body.compile(fullgraph=True, dynamic=True)
    try:
        with warnings.catch_warnings():
            # Products of float32 stay what they are: who wants speed has bfloat16.
            warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")
            first_run()
    except Exception as error:  # the compiler raises all kinds, and is only the fast way
        if Fault.of(error).is_out_of_memory:
            raise
        log.warning("The model could not be compiled and runs slower without.", exc_info=True)
        body._compiled_call_impl = None  # noqa: SLF001 (there is no public way back from `Module.compile`)
    else:
        log.info("Compiled the model in %.1f s.", time.perf_counter() - started)
