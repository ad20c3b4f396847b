"""A model is served only when its weights, tokenizer and template are whole and understood."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.chat_template import adopt_template, wants_parts
from pelton.workers.engine.model.load_failures import causes
from tests.unit.workers.engine._support.saved_model import TEMPLATE, load_on_cpu, save_model

Tensors = dict[str, torch.Tensor]
NORM, HEAD, DOWN = "model.norm.weight", "lm_head.weight", "model.layers.0.mlp.down_proj.weight"
PARTS_ONLY = (
    "{% for m in messages %}{% for p in m['content'] %}"
    "{% if p is mapping %}{{ p['text'] }}{% endif %}{% endfor %}{% endfor %}"
)


def rewrite(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    file = folder / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    save_file(change(tensors), file, metadata={"format": "pt"})


def without(*names: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without(NORM), rf"1 missing \({NORM}\)"),
        (without(HEAD), rf"1 missing \({HEAD}\)"),
        (lambda tensors: {f"wrong.{name}": tensor for name, tensor in tensors.items()}, r"missing .* and \d+ more"),
        (lambda tensors: tensors | {"model.surplus.weight": torch.ones(2)}, r"1 unexpected \(model\.surplus\.weight\)"),
        (lambda tensors: tensors | {NORM: torch.ones(8)}, r"1 of another shape \(model\.norm\.weight"),
        (lambda tensors: tensors | {f"{DOWN}_scale": torch.ones(1)}, r"quantised weights .*down_proj\.weight_scale"),
        (lambda tensors: tensors | {DOWN: tensors[DOWN].to(torch.float8_e4m3fn)}, r"quantised weights .*down_proj"),
        (lambda tensors: tensors | {"x.lora_A.weight": torch.ones(2)}, r"adapter that is not merged \(x\.lora_A"),
    ],
)
def test_weights_that_are_not_the_models_are_named(
    tmp_path: Path, change: Callable[[Tensors], Tensors], words: str
) -> None:
    """Missing, mismatched, unexpected or packed tensors refuse the load; a random tensor is never served."""
    save_model(tmp_path)
    rewrite(tmp_path, change)
    with pytest.raises(ModelLoadError, match=words) as refusal:
        load_on_cpu(tmp_path)
    assert str(refusal.value).startswith("model.path: ")


def test_an_unknown_quantisation_is_named(tmp_path: Path) -> None:
    """transformers loads such a model all the same, without its scales."""
    save_model(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(json.loads(config.read_text()) | {"quantization_config": {"quant_method": "modelopt"}})
    )
    with pytest.raises(ModelLoadError, match=r"quantised by modelopt, which is not read"):
        load_on_cpu(tmp_path)


def test_an_adapter_beside_weights_is_named(tmp_path: Path) -> None:
    """It would be left out, or its base model fetched from somewhere."""
    save_model(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelLoadError, match=r"adapter_config\.json.*merge"):
        load_on_cpu(tmp_path)


@pytest.mark.parametrize("template", ["{% for m in messages %}", "{{ raise_exception('no') }}", "a constant"])
def test_a_template_that_renders_no_text_is_refused_at_load(tmp_path: Path, template: str) -> None:
    """Else each request would be refused as its sender's fault, or answered without having been read."""
    save_model(tmp_path, chat_template=template)
    with pytest.raises(ModelLoadError, match=r"chat template cannot render a user's message"):
        load_on_cpu(tmp_path)


def test_a_template_of_content_parts_gets_parts(tmp_path: Path) -> None:
    """Where plain text would vanish, the list form is chosen; where it does not, it is kept."""
    save_model(tmp_path, chat_template=PARTS_ONLY)
    assert wants_parts(load_on_cpu(tmp_path).tokenizer)
    save_model(tmp_path)
    assert not wants_parts(load_on_cpu(tmp_path).tokenizer)


class Templates:
    def __init__(self, template: str | dict[str, str] | None) -> None:
        self.chat_template = template


def test_templates_come_from_the_tokenizer_or_the_file_beside(tmp_path: Path) -> None:
    """Of named ones the default; for a tokenizer without any, such as a GGUF file's, chat_template.jinja."""
    named = Templates({"default": TEMPLATE, "rag": "x"})
    adopt_template("m", named, tmp_path)
    assert named.chat_template == TEMPLATE
    with pytest.raises(ModelLoadError, match=r"several chat templates \(rag, tool\)"):
        adopt_template("m", Templates({"rag": "x", "tool": "y"}), tmp_path)
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    bare = Templates(None)
    adopt_template("m", bare, tmp_path)
    assert bare.chat_template == TEMPLATE


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    """An id beyond the embedding would fail the whole step."""
    save_model(tmp_path)
    file = tmp_path / "tokenizer.json"
    content = json.loads(file.read_text())
    content["added_tokens"].append(
        {"id": 900, "content": "<far>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
    )  # fmt: skip
    content["model"]["vocab"]["<far>"] = 900
    file.write_text(json.dumps(content))
    with pytest.raises(ModelLoadError, match="token ids up to 900, its model only 260"):
        load_on_cpu(tmp_path)


def test_causes_of_an_error_are_kept() -> None:
    """The outermost message often says no more than that something failed."""
    cause = OSError("disk is on fire")
    error = RuntimeError("cannot load\nsee above")
    error.__cause__ = cause
    assert causes(error) == ["RuntimeError: cannot load", "OSError: disk is on fire"]
