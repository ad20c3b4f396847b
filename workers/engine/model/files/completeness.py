"""Whether the weights that lie there are the model's: all of them, of the right shapes, and in a layout that is known.

transformers fills what is missing with random numbers and leaves out what it does not know, with a warning at most. The
answers of such a model look right just often enough to be believed, so it is refused by name.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pelton.workers.engine.errors import ModelLoadError

_NAMED = 4  # tensors named in an error; the others are counted
_HEADER_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000  # the safetensors format's own limit
_PACKED_TYPES = frozenset({"F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "I8", "U8", "I16", "I32"})
_SCALES = ("_scale", "_scale_inv", "_scales", "_zero_point", "_scale_2", "qweight", "qzeros", "g_idx")
_ADAPTER_KEYS = ("lora_A", "lora_B", "lora_embedding", "lora_magnitude")


def check_folder(name: str, folder: Path) -> None:
    """Look at a folder of safetensors before it is loaded; reads the files' headers only.

    Raises ModelLoadError for the weights of an adapter, for quantised tensors that the config does not declare, and
    for a file that is cut short.
    """
    tensors = {key: kind for file in sorted(folder.glob("*.safetensors")) for key, kind in _header(file).items()}
    if adapters := [key for key in tensors if any(part in key for part in _ADAPTER_KEYS)]:
        raise ModelLoadError(
            f"model.path: {name} holds the weights of an adapter that is not merged ({some(adapters)}); merge it into "
            "its base model and set model.path to the result"
        )
    if declared_quantisation(folder):
        return
    packed = [key for key, kind in tensors.items() if looks_packed(key, kind)]
    if packed:
        raise ModelLoadError(
            f"model.path: {name} holds quantised weights or their scales ({some(packed)}), but its config.json has no "
            "quantization_config that says how to read them; set model.path to an unquantised copy of the model"
        )


def check_loaded(name: str, info: Mapping[str, Any]) -> None:
    """Judge transformers' `output_loading_info`. Raises ModelLoadError with the tensors' names."""
    faults = [
        f"{len(keys)} {what} ({some(keys)})"
        for what, keys in (
            ("missing", _names(info.get("missing_keys"))),
            ("of another shape", _names(info.get("mismatched_keys"))),
            ("unexpected", _names(info.get("unexpected_keys"))),
        )
        if keys
    ]
    faults += [str(message) for message in info.get("error_msgs") or ()]
    if faults:
        raise ModelLoadError(
            f"model.path: the weights of {name} are not those of the model in its config.json: {'; '.join(faults)}; "
            "set model.path to a complete copy of the model"
        )


def declared_quantisation(folder: Path) -> dict[str, Any] | None:
    """The `quantization_config` in config.json; None for a model that is not quantised."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # transformers says what is wrong with it
    declared = content.get("quantization_config") or (content.get("text_config") or {}).get("quantization_config")
    return dict(declared) if declared else None


def looks_packed(key: str, kind: str) -> bool:
    """Whether a tensor of this name and data type, in the words of the files, holds quantised weights or scales."""
    return kind in _PACKED_TYPES or key.endswith(_SCALES)


def _header(file: Path) -> dict[str, str]:
    """The data type of each tensor in the file."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(_HEADER_LENGTH_BYTES), "little")
        if not 0 < length <= min(size, _MAX_HEADER_BYTES):
            raise ModelLoadError(
                f"model.path: {file} cannot be loaded: it is cut short or no safetensors file; copy it again"
            )
        try:
            header = json.loads(stream.read(length))
        except ValueError:
            raise ModelLoadError(f"model.path: {file} cannot be loaded: its header is damaged; copy it again") from None
    tensors = {key: value for key, value in header.items() if key != "__metadata__"}
    ends = max((value["data_offsets"][1] for value in tensors.values()), default=0)
    if _HEADER_LENGTH_BYTES + length + ends > size:
        raise ModelLoadError(f"model.path: {file} cannot be loaded: it is cut short; copy it again")
    return {key: value["dtype"] for key, value in tensors.items()}


def _names(keys: Iterable[Any] | None) -> list[str]:
    """Of a mismatched tensor transformers gives the name and both shapes."""
    return sorted(
        f"{key[0]}: {list(key[1])} instead of {list(key[2])}" if isinstance(key, tuple) else str(key)
        for key in keys or ()
    )


def some(names: list[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
