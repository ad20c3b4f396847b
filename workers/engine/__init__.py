"""The inference engine. Imports torch, transformers, triton, numpy and the standard library only.

    from pelton.workers.engine import Engine, SamplingParams

`Engine` is loaded when it is asked for: what only needs the interface (`api`) imports no torch.
"""

from typing import TYPE_CHECKING, Any

from pelton.workers.engine.api import Completion, FinishReason, SamplingParams

if TYPE_CHECKING:
    from pelton.workers.engine.offline import Engine

__all__ = ["Completion", "Engine", "FinishReason", "SamplingParams"]


def __getattr__(name: str) -> Any:
    if name == "Engine":
        from pelton.workers.engine.offline import Engine  # noqa: PLC0415 (the point of this function)

        return Engine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
