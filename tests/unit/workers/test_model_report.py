"""Five lines tell an operator what was decided when a model was loaded."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from pelton.pipeline.settings.loading import Settings
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.model_report import load_report

LOADED = SimpleNamespace(
    dtype="torch.bfloat16",
    weights="",
    stored_as="",
    device="cpu",
    context_length=2048,
    eos_token_ids=(2, 7),
    tokenizer=SimpleNamespace(
        chat_template="{{ messages }}", convert_ids_to_tokens=lambda ids: [f"<{n}>" for n in ids]
    ),
)
ENGINE = SimpleNamespace(max_batch_tokens=512, max_request_tokens=4096)


def report(settings: Settings, reason: str | None = None) -> list[str]:
    return load_report(settings, cast(LoadedModel, LOADED), ENGINE, padded_because=reason, parts=False)


def test_each_decision_has_its_line():
    """Model, weights, engine, budgets, chat: with the numbers and names that hold."""
    model, weights, engine, budgets, chat = report(Settings(model={"path": "/models/m"}))
    assert model == "model: m, from /models/m"
    assert weights == "weights: bfloat16 (model.dtype auto) on cpu (model.device auto)"
    assert engine.startswith("engine: continuous")
    assert all(number in budgets for number in ("2048", "512", "4096"))
    assert chat.endswith("plain text; answers stop at <2> (2), <7> (7)")


@pytest.mark.parametrize(
    ("kind", "reason", "said"),
    [
        ("padded", None, "padded, as engine.kind says"),
        ("continuous", "it is odd", "padded, which is slower, as it is odd"),
    ],
)
def test_why_it_is_the_padded_engine_is_said(kind, reason, said):
    """Asked for, or the only one that can run the model."""
    assert report(Settings(engine={"kind": kind}), reason)[2] == f"engine: {said}"


def test_quantised_keys_and_values_are_said():
    """Since answers differ."""
    assert report(Settings(engine={"kv_dtype": "int8"}))[2].endswith(", keys and values in int8")


def test_quantised_weights_are_said():
    """Beside the data type that all else is computed in."""
    loaded: Any = SimpleNamespace(**{**vars(LOADED), "weights": "int8 (FbgemmProduct)"})
    line = load_report(Settings(), loaded, ENGINE, padded_because=None, parts=False)[1]
    assert line.startswith("weights: bfloat16, linear layers int8 (FbgemmProduct) (model.dtype auto)")
