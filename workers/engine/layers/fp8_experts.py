"""The experts of a mixture with fp8 weights: all products of a step's experts are one (`scaled_grouped_mm`)."""

from typing import Any, Self

import torch
from torch import Tensor, nn

from pelton.workers.engine.layers.fp8_products import FP8, MULTIPLE, grouped_product, quantise

_KNOWN = frozenset({"Glm4MoeExperts", "MixtralExperts", "OlmoeExperts", "Qwen3MoeExperts"})


class Fp8Experts(nn.Module):
    """Takes the place of gated experts of the classes named above, for inference."""

    def __init__(self, gate_up: tuple[Tensor, Tensor], down: tuple[Tensor, Tensor], activate: Any) -> None:
        """Weights fp8 [experts, out, in] and scales float32 [experts, out, 1]; the gates come before what they gate."""
        super().__init__()
        self.gate_up_proj, self.gate_up_proj_scale = (nn.Parameter(each, requires_grad=False) for each in gate_up)
        self.down_proj, self.down_proj_scale = (nn.Parameter(each, requires_grad=False) for each in down)
        self.act_fn = activate

    @classmethod
    def of(cls, experts: Any) -> Self:
        """Quantise the weights of a mixture."""
        return cls(quantise(experts.gate_up_proj.detach()), quantise(experts.down_proj.detach()), experts.act_fn)

    @classmethod
    def empty(cls, experts: Any) -> Self:
        """A layer of the same size whose weights are loaded later."""
        return cls(_empty(experts.gate_up_proj), _empty(experts.down_proj), experts.act_fn)

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """[tokens, size] from the same, and each token's experts and their weights, both [tokens, chosen].

        Nothing here waits for the device, so that a step of it can be captured.
        """
        chosen = top_k_index.shape[1]
        experts, order = top_k_index.reshape(-1).sort(stable=True)
        numbers = torch.arange(len(self.gate_up_proj), device=experts.device, dtype=experts.dtype)
        ends = torch.searchsorted(experts, numbers, right=True).to(torch.int32)
        rows = hidden_states[order // chosen]
        gates, gated = grouped_product(rows, self.gate_up_proj, self.gate_up_proj_scale, ends).chunk(2, dim=-1)
        mixed = grouped_product(self.act_fn(gates) * gated, self.down_proj, self.down_proj_scale, ends)
        weighted = mixed.float() * top_k_weights.reshape(-1)[order][:, None]
        unsorted = weighted[order.argsort()].view(*top_k_index.shape, -1)
        return unsorted.sum(dim=1).to(hidden_states.dtype)


def experts_fit(experts: Any) -> bool:
    """Whether these are experts that can be of fp8."""
    if type(experts).__name__ not in _KNOWN:
        return False
    return not any(size % MULTIPLE for each in (experts.gate_up_proj, experts.down_proj) for size in each.shape[1:])


def has_experts(model: Any) -> bool:
    """Whether a model has experts that can be, or are, of fp8."""
    return any(experts_fit(module) or isinstance(module, Fp8Experts) for module in model.modules())


def quantise_experts(model: Any) -> None:
    """Replace the experts of a model, layer by layer."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if experts_fit(child):
                setattr(module, name, Fp8Experts.of(child))


def _empty(weight: Tensor) -> tuple[Tensor, Tensor]:
    scales = torch.empty(*weight.shape[:2], 1, device=weight.device)
    return torch.empty(weight.shape, dtype=FP8, device=weight.device), scales
