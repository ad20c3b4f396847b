"""Which device a model is computed on, and in which data type."""

import logging
import os
import warnings
from pathlib import Path

import torch

from pelton.workers.engine.errors import ModelLoadError

log = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_NATIVE_BF16 = ("avx512_bf16", "amx_bf16", "bf16")  # x86, x86, ARM
_ALLOCATOR = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")


def device_for(name: str, devices: Path = Path("/dev")) -> torch.device:
    """The device for `model.device`: "auto" is CUDA where PyTorch finds a card, else the CPU.

    Raises ModelLoadError for a card that was asked for and is not there, and with "auto" for a card that PyTorch cannot
    use: a model meant for it would run for hours on the CPU, and nobody would know why.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ModelLoadError(f'model.device: unknown device "{name}"; use auto, cpu or cuda')
    if name == "cpu":
        return torch.device("cpu")
    _keep_memory_whole()
    available, reason = _cuda_available()
    if available:
        return torch.device("cuda")
    if name == "cuda":
        raise ModelLoadError(
            f"model.device: PyTorch finds no CUDA device here; use auto or cpu, or check the driver{reason}"
        )
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() and any(devices.glob("nvidia[0-9]*")):
        if torch.version.cuda is not None:
            raise ModelLoadError(
                f"model.device: there is an NVIDIA card, and a PyTorch built for CUDA {torch.version.cuda} that finds "
                f"none; install a newer driver, or set model.device to cpu{reason}"
            )
        log.warning("The model runs on the CPU, since this PyTorch is built without CUDA; the NVIDIA card is not used.")
    return torch.device("cpu")


def dtype_for(name: str, device: torch.device) -> torch.dtype:
    """The data type for `model.dtype`: "auto" is bfloat16 where the device computes it natively, else float32.

    Raises ModelLoadError for an unknown one.
    """
    if name != "auto" and name not in _DTYPES:
        raise ModelLoadError(f'model.dtype: unknown data type "{name}"; use auto, {", ".join(_DTYPES)}')
    if name != "auto":
        return _DTYPES[name]
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = any(torch.cpu.get_capabilities().get(feature) for feature in _NATIVE_BF16)
    return torch.bfloat16 if native else torch.float32


def _cuda_available() -> tuple[bool, str]:
    """Whether there is a card, and what PyTorch warns of where there is none, such as a driver that is too old."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    reasons = [str(each.message).splitlines()[0] for each in heard]
    return available, f" ({'; '.join(reasons)})" if reasons else ""


def _keep_memory_whole() -> None:
    """Let the allocator give back parts of its segments: read once, when memory is first taken on a card.

    Weights come in one large segment, and joining layers frees pieces in its middle. Without this, memory in such holes
    is lost to the pages. What an operator has set stays.
    """
    if not any(name in os.environ for name in _ALLOCATOR):
        os.environ[_ALLOCATOR[0]] = "expandable_segments:True"
