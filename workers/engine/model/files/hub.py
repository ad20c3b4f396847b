"""A first question to the model hub: without one, each of a model's files is tried several times in vain."""

from pathlib import Path
from typing import Any

from pelton.workers.engine.errors import ModelLoadError

ANSWER_S = 10.0

_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "model*.safetensors")


def ask_hub(name: str, file: str | None) -> None:
    """See that the hub has the model `name`, unless its `file`, or its config, was downloaded before.

    Raises ModelLoadError.
    """
    try:
        from huggingface_hub import HfApi, try_to_load_from_cache  # noqa: PLC0415 (only in pelton[engine])
    except ImportError:  # what is missing is named when the model is loaded
        return
    if isinstance(try_to_load_from_cache(name, file or "config.json"), str):
        return
    try:
        HfApi().model_info(name, timeout=ANSWER_S)
    except Exception as error:  # the client raises what its own HTTP library does
        first, *_ = str(error).strip().splitlines() or [""]
        raise ModelLoadError(
            f"model.path: there is no local folder {name}, and the model hub did not give it "
            f"({type(error).__name__}: {first}); check the name and the network, or set model.path to a downloaded "
            "folder"
        ) from error


def is_quantised(name: str, options: dict[str, Any]) -> bool:
    """Whether the config of the model `name` declares a quantisation."""
    from transformers import AutoConfig  # noqa: PLC0415 (imports torch, which whoever starts workers does without)

    config = AutoConfig.from_pretrained(name, **options)
    return any(getattr(each, "quantization_config", None) for each in (config, config.get_text_config()))


def download(name: str) -> Path:
    """The folder with the files of the model `name`, which are fetched where they are not there yet."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 (as above)

    return Path(snapshot_download(name, allow_patterns=list(_FILES)))
