"""A digest that distinguishes sets of weights without reading all of them."""

import hashlib
from typing import Any

import torch

# Fine-tuning changes matrices as a whole: this many numbers, spread over each, are enough to see it.
_SAMPLES = 1024


def weights_digest(model: Any) -> bytes:
    """A digest of all parameters' names, shapes and data types, and of a sample of their values."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // _SAMPLES)].to("cpu", torch.float32)
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}\n".encode())
        digest.update(sample.numpy().tobytes())
    return digest.digest()
