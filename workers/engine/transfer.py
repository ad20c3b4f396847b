"""Numbers between host and device without a wait: what is copied lies in memory that the device reads by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def upload(values: Sequence[Any] | NDArray[Any], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor of `values` on the device. Copying from ordinary memory would wait for all work queued before."""
    tensor = torch.tensor(np.asarray(values), dtype=dtype)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def upload_into(target: Tensor, values: NDArray[np.int64]) -> None:
    """The same into the beginning of an int64 tensor that is there already."""
    tensor = torch.from_numpy(values)
    if target.device.type == "cpu":
        target[: len(values)] = tensor
    else:
        target[: len(values)].copy_(tensor.pin_memory(), non_blocking=True)


@dataclass(frozen=True, slots=True, eq=False)
class Download:
    """Tensors on their way to the host."""

    _tensors: tuple[Tensor, ...]
    _event: torch.cuda.Event | None

    @classmethod
    def of(cls, *tensors: Tensor) -> "Download":
        """Queue the copies behind what is queued so far."""
        if tensors[0].device.type == "cpu":
            return cls(tuple(tensor.clone() for tensor in tensors), None)
        pinned = tuple(torch.empty(each.shape, dtype=each.dtype, pin_memory=True) for each in tensors)
        for target, tensor in zip(pinned, tensors, strict=True):
            target.copy_(tensor, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        return cls(pinned, event)

    def lists(self) -> list[list[Any]]:
        """What arrived, as nested lists; waits for it."""
        if self._event is not None:
            self._event.synchronize()
        return [tensor.tolist() for tensor in self._tensors]
