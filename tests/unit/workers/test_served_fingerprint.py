"""What engine and model put into the cache's keys: the same wherever the same request gets the same answer."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from pelton.pipeline.settings.engine import EngineSettings
from pelton.pipeline.settings.loading import Settings
from pelton.workers import served_model
from pelton.workers.delivery import completion_body
from pelton.workers.engine.model.loading import LoadedModel


def simulated(**changed: Any) -> bytes:
    engine = {"kind": "simulated", "simulated": changed}
    return served_model.build(Settings(engine=engine)).fingerprint


@pytest.mark.parametrize(
    "changed", [{"seed": 1}, {"min_output_tokens": 9}, {"mean_output_tokens": 25}, {"max_output_tokens": 65}]
)
def test_what_decides_the_simulated_answers_is_in_it(changed):
    """Seed and lengths."""
    assert simulated(**changed) != simulated()


@pytest.mark.parametrize("changed", [{"itl_ms": 99}, {"ttft_ms": 99}, {"max_running": 9}])
def test_what_decides_only_the_speed_is_not(changed):
    """A slow worker and a fast one share their answers."""
    assert simulated(**changed) == simulated()


class FakeTokenizer:
    def __init__(self, template: str = "{{ messages }}", vocabulary: tuple[str, ...] = ("a", "b")) -> None:
        self.chat_template = template
        self.special_tokens_map = {"eos_token": "</s>"}
        self._vocabulary = vocabulary

    def get_vocab(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self._vocabulary)}


def model(**changed: Any) -> bytes:
    """The fingerprint of a model, of which only what is in it is there."""
    settings = EngineSettings(
        **{name: changed.pop(name) for name in ("batch_invariant", "kv_dtype") if name in changed}
    )
    engine = changed.pop("engine", SimpleNamespace())
    plain = {
        "tokenizer": FakeTokenizer(),
        "weights_digest": b"w",
        "dtype": "bfloat16",
        "weights": "",
        "eos_token_ids": (2,),
        "positions_for": None,
    }
    loaded = cast(LoadedModel, SimpleNamespace(**{**plain, **changed}))
    return served_model._fingerprint(served_model._facts_of(loaded, engine, settings))


@pytest.mark.parametrize(
    "changed",
    [
        {"weights_digest": b"other"},
        {"dtype": "float32"},
        {"weights": "int8"},
        {"eos_token_ids": (2, 3)},
        {"batch_invariant": True},
        {"kv_dtype": "int8"},
        {"positions_for": 4_096},
        {"engine": FakeTokenizer()},
        {"tokenizer": FakeTokenizer(template="{{ messages }}!")},
        {"tokenizer": FakeTokenizer(vocabulary=("b", "a"))},
    ],
)
def test_what_decides_a_models_answers_is_in_it(changed):
    """Weights, data type, ends of sequence, fixed positions, engine and its settings, tokeniser and template."""
    assert model(**changed) != model() == model()


def test_answers_told_in_other_words_are_others(monkeypatch):
    """What was cached in an older format is not found by a newer worker."""
    before = model()
    monkeypatch.setattr(served_model, "ANSWER_FORMAT", completion_body.ANSWER_FORMAT + 1)
    assert model() != before
