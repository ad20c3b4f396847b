"""Programmatic dependent launches: a kernel's programs begin while those of the kernel before it end.

What a launch takes is done meanwhile, some microseconds that a decode step of hundreds of kernels pays for each. Every
program first waits (`follow`) until all that came before is done and seen, also one that has nothing to do: else a
kernel of such programs only would end before its predecessor, and let its successor begin too early. TorchInductor
relies on that too: its kernels wait for the one before them only.

For Hopper and later. Off unless asked for with TORCHINDUCTOR_ENABLE_PDL=1, which also switches on TorchInductor's own.
"""

import functools

import torch
import triton
import triton.language as tl
from torch._inductor import config

_HOPPER = (9, 0)


@triton.jit
def follow(DEPENDENT: tl.constexpr):
    """Wait for the kernel before, then let the one behind begin to wait for this one."""
    if DEPENDENT:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()


def dependent_launch(device: torch.device) -> dict[str, bool]:
    """Arguments for kernels that call `follow`."""
    dependent = bool(config.triton.enable_pdl) and can_depend(device)
    return {"DEPENDENT": dependent, "launch_pdl": dependent}


@functools.cache
def can_depend(device: torch.device) -> bool:
    """Whether a card knows such launches."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= _HOPPER
