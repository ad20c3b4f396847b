"""Which quantised checkpoints are read, from the `quantization_config` in config.json; others are refused by name.

| method | what is read of it |
|---|---|
| `compressed-tensors` | fp8 and int8 with one scale for a matrix, an output, a group or a block; 4 and 8 bits packed |
| `fp8` | one scale for a matrix or a block (DeepSeek-V3, Qwen3-FP8) |
| `fbgemm_fp8` | one scale for each output |
| `gptq` | 4 and 8 bits, with the order of activations or without |
| `awq` | 4 bits, the kind "gemm" |
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.quantised.layouts import Awq, Gptq, Layout, PackedIntegers, ScaledWeights

READ = "compressed-tensors (fp8, int8, packed integers of 4 or 8 bits), fp8, fbgemm_fp8, gptq or awq"
_PACKED_BITS = (4, 8)
_PLAIN_ORDERS = (None, False, "weight", "static")  # of quantising columns; only "group" moves them between groups


class _Refused(Exception):
    """In words that follow "it has"."""


@dataclass(frozen=True, slots=True)
class Format:
    """`name` is for the operator: method and what the numbers are."""

    name: str
    layouts: tuple[Layout, ...]


def format_of(name: str, declared: Mapping[str, Any]) -> Format:
    """The format of a model called `name`, from its `quantization_config`.

    Raises ModelLoadError for one that is not read, with what it has and what to do instead.
    """
    method = str(declared.get("quant_method") or "an unnamed method")
    reader = _READERS.get(method)
    if reader is None:
        bits = "" if method != "bitsandbytes" else (" of 8 bits" if declared.get("load_in_8bit") else " of 4 bits")
        raise _refusal(name, f"{method}{bits}", "which is not read here")
    try:
        return reader(declared)
    except _Refused as reason:
        raise _refusal(name, method, f"and has {reason}, which is not read here") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _refusal(
            name, method, f"and its quantization_config is not as documented ({type(error).__name__}: {error})"
        ) from error


def _refusal(name: str, method: str, why: str) -> ModelLoadError:
    return ModelLoadError(
        f"model.path: {name} is quantised by {method}, {why}; set model.path to an unquantised copy of the model, or "
        f"to one quantised by {READ}"
    )


def _compressed_tensors(declared: Mapping[str, Any]) -> Format:
    if declared.get("kv_cache_scheme"):
        raise _Refused("scales for keys and values (kv_cache_scheme)")
    if declared.get("transform_config"):
        raise _Refused("rotations of activations (transform_config)")
    sparsity = (declared.get("sparsity_config") or {}).get("format", "dense")
    if sparsity != "dense":
        raise _Refused(f"sparse weights ({sparsity})")
    found = {_group(group, str(declared.get("format"))) for group in declared["config_groups"].values()}
    if len(found) != 1:
        raise _Refused(f"{len(found)} different schemes")
    (kind, layout), *_ = found
    return Format(f"compressed-tensors {kind}", (layout,))


def _group(group: Mapping[str, Any], of_all: str) -> tuple[str, Layout]:
    form, weights = str(group.get("format") or of_all), group["weights"]
    if group.get("output_activations"):
        raise _Refused("quantised results of layers (output_activations)")
    bits, kind = int(weights["num_bits"]), str(weights["type"])
    what = f"{kind}{bits} ({weights.get('strategy')})"
    if not weights.get("symmetric", True):
        raise _Refused(f"{what} weights with zero points (symmetric: false)")
    if weights.get("actorder") not in _PLAIN_ORDERS:
        raise _Refused(f"columns in another order (actorder: {weights['actorder']})")
    block = _block(weights)
    if bits == 8 and kind == "float" and form in ("float-quantized", "naive-quantized"):  # noqa: PLR2004 (a byte)
        return f"fp8 ({weights['strategy']})", ScaledWeights(torch.float8_e4m3fn, block)
    if bits == 8 and kind == "int" and form in ("int-quantized", "naive-quantized"):  # noqa: PLR2004 (a byte)
        return f"int8 ({weights['strategy']})", ScaledWeights(torch.int8, block)
    if bits in _PACKED_BITS and kind == "int" and form == "pack-quantized" and block[0] == 1:
        return f"int{bits} ({weights['strategy']})", PackedIntegers(bits, block[1])
    raise _Refused(f"{what} weights in the format {form}")


def _block(weights: Mapping[str, Any]) -> tuple[int, int]:
    strategy = weights.get("strategy")
    if strategy == "tensor":
        return 0, 0
    if strategy == "channel":
        return 1, 0
    if strategy == "group" and int(weights["group_size"]) > 0:
        return 1, int(weights["group_size"])
    if strategy == "block":
        rows, columns = weights["block_structure"]
        return int(rows), int(columns)
    raise _Refused(f"scales by {strategy}")


def _fine_grained(declared: Mapping[str, Any]) -> Format:
    if declared.get("fmt", "e4m3") != "e4m3":
        raise _Refused(f"numbers of the type {declared['fmt']}")
    if declared.get("kv_cache_scheme") or declared.get("kv_cache_quant_method"):
        raise _Refused("scales for keys and values")
    rows, columns = declared.get("weight_block_size") or (0, 0)
    kind = f"fp8 (blocks of {rows}x{columns})" if rows else "fp8 (tensor)"
    names = ("weight_scale_inv", "weight_scale")  # the older name is of the inverse, and both are factors
    block = int(rows), int(columns)
    return Format(kind, tuple(ScaledWeights(torch.float8_e4m3fn, block, name) for name in names))


def _fbgemm(_: Mapping[str, Any]) -> Format:
    # Rows of activations above `activation_scale_ub` would be clipped there; here they keep their size.
    return Format("fbgemm_fp8 (channel)", (ScaledWeights(torch.float8_e4m3fn, (1, 0)),))


def _gptq(declared: Mapping[str, Any]) -> Format:
    bits, group = int(declared["bits"]), int(declared.get("group_size", -1))
    kind = str(declared.get("checkpoint_format") or "gptq")
    if bits not in _PACKED_BITS:
        raise _Refused(f"{bits} bits")
    if kind not in ("gptq", "gptq_v2"):
        raise _Refused(f"the checkpoint format {kind}")
    if declared.get("dynamic"):
        raise _Refused("other sizes in some layers (dynamic)")
    return Format(f"GPTQ int{bits}", (Gptq(bits, max(group, 0), kind == "gptq"),))


def _awq(declared: Mapping[str, Any]) -> Format:
    bits, group = int(declared.get("bits", declared.get("w_bit", 4))), declared.get("group_size")
    version = str(declared.get("version", "gemm")).lower()
    if bits != 4:  # noqa: PLR2004 (the only one that this kind has)
        raise _Refused(f"{bits} bits")
    if version != "gemm":
        raise _Refused(f'the kind "{version}"')
    if not declared.get("zero_point", True):
        raise _Refused("no zero points (zero_point: false)")
    size = int(group if group is not None else declared["q_group_size"])
    return Format("AWQ int4", (Awq(max(size, 0)),))


_READERS: dict[str, Callable[[Mapping[str, Any]], Format]] = {
    "compressed-tensors": _compressed_tensors,
    "fp8": _fine_grained,
    "fbgemm_fp8": _fbgemm,
    "gptq": _gptq,
    "awq": _awq,
}
