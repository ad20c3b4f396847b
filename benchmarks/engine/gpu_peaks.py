"""What a card can do, measured in the same run as what is done with it: bytes copied and products computed a second."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch

_COPIED_BYTES = 2**32
_SIDE = 8192
_REPEATS = 10


@dataclass(frozen=True, slots=True)
class Card:
    """`copy` counts bytes read and bytes written, per second; `matrix` floating-point operations per second."""

    name: str
    copy: float
    matrix: float

    @classmethod
    def measure(cls, dtype: torch.dtype = torch.bfloat16) -> "Card":
        """On random numbers: zeros take less power, and so less time."""
        return cls(torch.cuda.get_device_name(), _copy_rate(), _matrix_rate(dtype))


def _copy_rate() -> float:
    source = torch.randn(_COPIED_BYTES // 4, device="cuda")
    target = torch.empty_like(source)
    return 2 * _COPIED_BYTES / median_ms(lambda: target.copy_(source)) * 1e3


def _matrix_rate(dtype: torch.dtype) -> float:
    left, right = (torch.randn(_SIDE, _SIDE, device="cuda", dtype=dtype) for _ in range(2))
    product = torch.empty_like(left)
    return 2 * _SIDE**3 / median_ms(lambda: torch.mm(left, right, out=product)) * 1e3


def median_ms(work: Callable[[], object], repeats: int = _REPEATS) -> float:
    """Milliseconds of device time."""
    for _ in range(3):
        work()
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for start, end in events:
        start.record()
        work()
        end.record()
    torch.cuda.synchronize()
    return float(statistics.median(start.elapsed_time(end) for start, end in events))
