"""The continuous engine's limits: as configured, and as chosen for a device."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

# As many as keep a large card busy for as long as it takes to launch such a step; and, at some 5 ms a step, no longer
# than a reader notices.
_GATHER_TOKENS, _GATHER_STEPS = 2048, 8


@dataclass(frozen=True, slots=True)
class ContinuousConfig:
    """Limits of the engine; what is None is chosen for the device (`on`).

    `max_batch_tokens` bounds what one step computes, `max_running` the requests that share it, `kv_memory_gib` the
    memory for keys and values, `kv_dtype` says in what they are stored: "auto" is the model's data type, "int8" and (on
    a GPU) "fp8" take one byte for each number. `batch_invariant` makes answers independent of the batch to the last
    bit, which costs most of the speed of prompts. `page_size` is in tokens; only full pages are shared between prompts.
    `kernel_cache` is a folder for what is compiled for a GPU. With `speculation` "prompt" steps verify tokens guessed
    from the request's own text, where steps are computed one after the other (`speculation/`).
    """

    max_batch_tokens: int | None = None
    max_running: int | None = None
    kv_memory_gib: float | None = None
    kv_dtype: Literal["auto", "int8", "fp8"] = "auto"
    page_size: int = 64
    prefix_cache: bool = True
    batch_invariant: bool = False
    speculation: Literal["prompt", "off"] = "off"
    kernel_cache: Path | None = None

    def on(self, device: torch.device) -> "EngineLimits":
        """A CPU takes long over large steps, in which nobody can be cancelled; a GPU is not filled by small ones."""
        on_gpu = device.type == "cuda"
        tokens, rows = (8192, 256) if on_gpu else (512, 64)
        max_batch_tokens = self.max_batch_tokens or tokens
        return EngineLimits(
            max_batch_tokens=max_batch_tokens,
            max_running=self.max_running or min(rows, max_batch_tokens),
            kv_memory_gib=self.kv_memory_gib,
            kv_dtype=self.kv_dtype,
            page_size=self.page_size,
            prefix_cache=self.prefix_cache,
            batch_invariant=self.batch_invariant,
            speculation=self.speculation,
            kernel_cache=self.kernel_cache,
            # Whoever decodes waits for a step with prompts, whose products take their time for few tokens too: one step
            # with many of them holds up less than many with few.
            gather_tokens=min(_GATHER_TOKENS, max_batch_tokens) if on_gpu and not self.batch_invariant else 0,
            gather_steps=_GATHER_STEPS,
        )


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """`ContinuousConfig` with the device's own choices made."""

    max_batch_tokens: int
    max_running: int
    kv_memory_gib: float | None
    kv_dtype: Literal["auto", "int8", "fp8"]
    page_size: int
    prefix_cache: bool
    batch_invariant: bool
    speculation: Literal["prompt", "off"]
    kernel_cache: Path | None
    gather_tokens: int
    gather_steps: int
