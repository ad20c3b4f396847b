"""A rank's part of a model, as transformers' plan for tensor parallelism cuts it.

transformers reads only this rank's part of each tensor (`placement`). What it then runs the parts with is made for
training as well; `keep_shard` puts plain layers in its place, which are fused and packed like those of a whole model.

Embeddings stay whole on each rank: looking them up then takes no exchange. The output layer is cut by us, as one that
shares the embeddings' weights could not be cut otherwise.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers.distributed import DistributedConfig
from transformers.distributed.parallel_utils import replace_layer_number_by_wildcard
from transformers.distributed.tensor_parallel import get_kv_heads_per_rank

from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.layers.collective import GatheredLinear, SummedExperts, SummedLinear
from pelton.workers.engine.model.supported import FAMILIES

_EMBEDDINGS, _HEAD = "embed_tokens", "lm_head"
_WHOLE = frozenset({"replicate", "replicated_with_grad_allreduce"})
_STYLES = _WHOLE | {
    "colwise", "colwise_gather_output", "rowwise", "rowwise_split_input", "packed_colwise", "moe_tp_experts",
    "embedding_rowwise",
}  # fmt: skip


def placement(ranks: int, device: torch.device) -> dict[str, Any]:
    """Options of `from_pretrained`: all of a model on `device`, or, of several ranks, this one's part.

    The latter are to have joined PyTorch's process group.
    """
    if ranks == 1:
        return {"device_map": {"": device}}
    whole = dict.fromkeys((f"model.{_EMBEDDINGS}", _HEAD), "replicate")
    return {"distributed_config": DistributedConfig(tp_size=ranks, tp_plan=whole)}


def check_plan(config: Any, ranks: int) -> None:
    """Raises ModelLoadError for a model that `ranks` processes cannot share, before any weights are read."""
    text = config.get_text_config()
    if text.model_type not in FAMILIES:
        raise ModelLoadError(
            f"engine.tensor_parallel: the continuous engine, which alone computes in parts, does not run this "
            f"architecture ({text.model_type}); set it to 1"
        )
    plan: Mapping[str, str] = getattr(text, "base_model_tp_plan", None) or {}
    if not plan or text is not config:
        kind = text.model_type if text is config else f"{config.model_type}, more than a language model"
        raise ModelLoadError(f"engine.tensor_parallel: there is no plan for this architecture ({kind}); set it to 1")
    if unknown := set(plan.values()) - _STYLES:
        raise ModelLoadError(
            f"engine.tensor_parallel: this architecture ({text.model_type}) is cut in ways that are not supported here "
            f"({', '.join(sorted(unknown))}); set it to 1"
        )
    if kv_heads_per_rank(text, ranks) is None:
        heads = _kv_heads(text)
        raise ModelLoadError(
            f"engine.tensor_parallel: {ranks} processes cannot share the {heads} heads of keys and values that this "
            f"model has; set it to a divisor of {heads}"
        )


def kv_heads_per_rank(config: Any, ranks: int) -> int | None:
    """Heads of keys and values that each rank holds; all, where the plan leaves them whole; None: not divisible."""
    found: int | None = get_kv_heads_per_rank(config.base_model_tp_plan or {}, _kv_heads(config), ranks)
    return found


def _kv_heads(config: Any) -> int:
    heads: int = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return heads


def keep_shard(model: Any, rank: int, ranks: int) -> None:
    """Replace the layers that transformers has cut by plain ones of this rank's weights, in place; cut the output.

    Raises ModelLoadError where something cut is left over.
    """
    for name, module in list(model.named_modules()):
        style = model.tp_plan.get(replace_layer_number_by_wildcard(name))
        if style is not None and style not in _WHOLE:
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, _plain(module, style, rank, ranks))
    _cut_head(model, rank, ranks)
    if left := [name for name, parameter in model.named_parameters() if isinstance(parameter, DTensor)]:
        raise ModelLoadError(f"engine.tensor_parallel: {left[0]} is cut in a way that is not supported; set it to 1")


def _plain(module: Any, style: str, rank: int, ranks: int) -> nn.Module:
    if style == "moe_tp_experts":
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, _parameter(_local(parameter)))
        vars(module).pop("forward", None)  # the class's own, without transformers' exchange
        return SummedExperts(module)
    weight, bias = _local(module.weight), None if module.bias is None else _local(module.bias)
    if style == "colwise":
        return _linear(weight, bias)
    if style == "colwise_gather_output":
        return GatheredLinear(_linear(weight, bias), _sizes(module.out_features, ranks))
    columns = _slice(module.in_features, rank, ranks) if style == "rowwise_split_input" else None
    return SummedLinear(_linear(weight, None), bias, columns)


def _cut_head(model: Any, rank: int, ranks: int) -> None:
    head = model.get_output_embeddings()
    mine = _slice(head.out_features, rank, ranks)
    weight, bias = head.weight.detach()[mine], None if head.bias is None else head.bias.detach()[mine]
    if head.weight is not model.get_input_embeddings().weight:
        weight = weight.clone()  # so that the rest can go
    setattr(model, _HEAD, GatheredLinear(_linear(weight, bias), _sizes(head.out_features, ranks)))


def _sizes(count: int, ranks: int) -> list[int]:
    """As `torch.chunk` shares out what cannot be divided: the last may get less, or nothing."""
    return [len(range(count)[_slice(count, rank, ranks)]) for rank in range(ranks)]


def _slice(count: int, rank: int, ranks: int) -> slice:
    each = -(-count // ranks)
    return slice(min(rank * each, count), min((rank + 1) * each, count))


def _local(parameter: Tensor) -> Tensor:
    return parameter.to_local().detach() if isinstance(parameter, DTensor) else parameter.detach()


def _parameter(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = _parameter(weight)
    if bias is not None:
        linear.bias = _parameter(bias)
    return linear.eval()
