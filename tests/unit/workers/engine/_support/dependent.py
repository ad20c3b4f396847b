"""Compiles the attention kernels for programmatic dependent launches, and looks whether they wait before all else.

    python -m tests.unit.workers.engine._support.dependent

A program, since Triton reads whether to interpret when it is imported. Prints, as JSON, for each kernel: whether it is
launched so, whether it waits and then lets the next one begin, and how often it reads or writes global memory before it
waits, and in all.
"""

import json
import re
from typing import Any

import torch
import triton
from torch._inductor import config
from triton.runtime.jit import JITFunction

from pelton.workers.engine.cuda.kernels import launching
from tests.unit.workers.engine._support.cards import Card, attend, turned

_ACCESS = re.compile(r"\b(ld|st|atom|red)\.global|\bcp\.async\.c[ag]")
_WAIT, _NEXT = "griddepcontrol.wait", "griddepcontrol.launch_dependents"


def main() -> None:
    triton.runtime.driver.set_active(Card())
    run = JITFunction.run
    told: list[dict[str, Any]] = []

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:  # noqa: ARG001 (Triton's)
        kernel = run(self, *args, grid=grid, warmup=True, **options)
        before, wait, after = kernel.asm["ptx"].partition(_WAIT)
        told.append({
            "name": kernel.metadata.name, "dependent": kernel.metadata.launch_pdl,
            "waits": bool(wait) and _NEXT in after and _NEXT not in before,
            "early": len(_ACCESS.findall(before)), "accesses": len(_ACCESS.findall(before + after)),
        })  # fmt: skip
        return kernel

    JITFunction.run = compile_only
    config.triton.enable_pdl = True
    launching.can_depend = lambda _: True  # type: ignore[assignment]
    attend(128, 64, torch.bfloat16, norm_rope=turned(128, torch.bfloat16))
    print(json.dumps(told))  # noqa: T201 (its output)


if __name__ == "__main__":
    main()
