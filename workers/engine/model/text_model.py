"""The language model inside a multimodal checkpoint, by itself.

Gemma 3 from 4B on and Mistral 3 come with a vision tower around a plain language model. Only text is served here, so
the tower is let go and the rest is run as what it is.
"""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from pelton.workers.engine.model.supported import FAMILIES


def auto_class(path: str, **options: Any) -> Any:
    """The class of transformers that loads the model at `path`: some checkpoints are known as multimodal only."""
    config = AutoConfig.from_pretrained(path, **options)
    causal, multimodal = (kind._model_mapping for kind in (AutoModelForCausalLM, AutoModelForImageTextToText))  # noqa: SLF001 (no public name)
    known_as_multimodal_only = type(config) not in causal and type(config) in multimodal
    return AutoModelForImageTextToText if known_as_multimodal_only else AutoModelForCausalLM


def text_model(model: Any) -> Any:
    """The language model of a checkpoint that has a plain one and more; any other model as it is."""
    config = model.config.get_text_config()
    inner = getattr(getattr(model, "model", None), "language_model", None)
    if config is model.config or inner is None or config.model_type not in FAMILIES:
        return model
    with torch.device("meta"):  # a shell without weights
        text = AutoModelForCausalLM.from_config(config)
    text.model, text.lm_head = inner, model.lm_head
    text.generation_config = model.generation_config
    return text
