"""What an exception of the model means: which failure it is, and whether the process can go on."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from pelton.workers.engine.api import EngineRequest, Failure, FailureKind
from pelton.workers.engine.errors import EngineLostError, ModelLoadError

# PyTorch's allocator for the CPU and cuBLAS's work space have no exception classes of their own.
_OUT_OF_MEMORY = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED")

# After these every further call on the device fails too: only a new process helps.
_FATAL = ("device-side assert", "illegal memory access", "an illegal instruction", "unspecified launch failure", "ECC")


@dataclass(frozen=True, slots=True)
class Fault:
    """What an exception said. The exception itself is let go: its frames hold the batch's tensors."""

    kind: FailureKind
    text: str
    fatal: bool

    @classmethod
    def of(cls, error: Exception) -> "Fault":
        text = f"{type(error).__name__}: {error}"
        out_of_memory = (
            isinstance(error, MemoryError | torch.OutOfMemoryError)
            or (isinstance(error, OSError) and error.errno == errno.ENOMEM)  # a mapping that the system refuses
            or _tells(error, _OUT_OF_MEMORY)
        )
        return cls(
            kind=FailureKind.OUT_OF_MEMORY if out_of_memory else FailureKind.INTERNAL,
            text=text,
            fatal=isinstance(error, EngineLostError) or ("CUDA" in text and _tells(error, _FATAL)),
        )

    @property
    def is_out_of_memory(self) -> bool:
        return self.kind is FailureKind.OUT_OF_MEMORY

    def failure(self, request: EngineRequest) -> Failure:
        """For a request that met this fault when it was alone."""
        if self.is_out_of_memory:
            size = f"{len(request.prompt)} prompt tokens, up to {request.params.max_tokens} new ones"
            message = f"The model ran out of memory on this request alone ({size})."
        else:
            message = f"The model failed on this request alone: {self.text}"
        return Failure(request.id, self.kind, message)


def _tells(error: Exception, words: tuple[str, ...]) -> bool:
    return any(each in str(error) for each in words)


@contextmanager
def memory_lasts(remedy: str) -> Iterator[None]:
    """Within it, running out of memory is a ModelLoadError that says what to do."""
    try:
        yield
    except Exception as error:
        fault = Fault.of(error)
        if not fault.is_out_of_memory:
            raise
        raise ModelLoadError(f"engine: there is not enough memory; {remedy} ({fault.text})") from error
