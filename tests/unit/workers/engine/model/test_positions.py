"""Positions by the served context: no neighbour changes an answer, and the factors are transformers' own choice."""

import copy
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedConfig

from pelton.workers.engine.api import Completion, EngineRequest, SamplingParams
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.model.loading import LoadedModel, wrap
from pelton.workers.engine.model.positions import are_fixed, fix_positions, stretching
from pelton.workers.engine.model.supported import unsupported_reason
from pelton.workers.engine.padded.engine import PaddedConfig, PaddedEngine
from tests.unit.workers.engine._support.reference import CONFIGS, prompt_of

ORIGINAL = 16
"""Tokens of the pretraining's context in the longrope configuration."""
GREEDY = SamplingParams(6, temperature=0.0, ignore_eos=True)


def untouched(family: str = "phi3-longrope") -> Any:
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[family]), dtype=torch.float32).eval()


def make(kind: str, loaded: LoadedModel) -> Any:
    if kind == "padded":
        return PaddedEngine(loaded, PaddedConfig(max_batch_tokens=4096, max_batch_size=8, max_batch_wait_s=0.0))
    return ContinuousEngine(loaded, ContinuousConfig(max_batch_tokens=64, max_running=4, page_size=4))


def answers(engine: Any, *prompts: tuple[int, ...]) -> list[tuple[int, ...]]:
    for index, prompt in enumerate(prompts):
        engine.add(EngineRequest(index, prompt, GREEDY))
    found: dict[int, tuple[int, ...]] = {}
    while engine.running:
        for outcome in engine.step():
            assert isinstance(outcome, Completion), outcome
            found[outcome.request_id] = outcome.token_ids
    return [found[index] for index in range(len(prompts))]


def generated(model: Any, prompt: tuple[int, ...]) -> tuple[int, ...]:
    """By transformers' own class as it comes, token for token: `generate` of some families drops its cache half-way."""
    cache, tokens = DynamicCache(config=model.config), list(prompt)
    rest = torch.tensor([tokens])
    for _ in range(GREEDY.max_tokens):
        with torch.no_grad():
            logits = model(input_ids=rest, past_key_values=cache, use_cache=True).logits
        tokens.append(int(logits[0, -1].argmax()))
        rest = torch.tensor([tokens[-1:]])
    return tuple(tokens[len(prompt) :])


@pytest.mark.parametrize("kind", ["continuous", "padded"])
def test_a_neighbour_changes_no_token(kind: str) -> None:
    """A short prompt says the same alone and beside one that is longer than the pretraining's context."""
    short, long = prompt_of(6, 3), prompt_of(40, 6)
    alone = answers(make(kind, wrap(untouched())), short)
    together = answers(make(kind, wrap(untouched())), short, long)
    assert together[0] == alone[0]
    # Transformers' own choice would make a difference here, or this test shows nothing.
    stretched = wrap(untouched())
    with_short = wrap(untouched(), context_length=ORIGINAL)
    assert not torch.equal(_frequencies(stretched.model), _frequencies(with_short.model))


@pytest.mark.parametrize("kind", ["continuous", "padded"])
@pytest.mark.parametrize(("length", "context"), [(40, None), (ORIGINAL - GREEDY.max_tokens, ORIGINAL)])
def test_the_factors_are_those_that_transformers_chooses(kind: str, length: int, context: int | None) -> None:
    """For a prompt beyond the pretraining's context, and for a served context that stays within it."""
    prompt = prompt_of(length, 6)
    loaded = wrap(untouched(), context_length=context)
    assert answers(make(kind, loaded), prompt) == [generated(untouched(), prompt)]


def test_a_model_is_fixed_once() -> None:
    """And can be batched continuously then; before, it is said what is in the way."""
    model = untouched()
    assert stretching(model) == {"longrope"}
    assert "longrope" in str(unsupported_reason(model))
    assert not are_fixed(model)
    fix_positions(model, 256)
    assert not stretching(model)
    assert are_fixed(model)
    assert unsupported_reason(model) is None
    long = _frequencies(model).clone()
    fix_positions(model, ORIGINAL)
    assert torch.equal(_frequencies(model), long)


def test_positions_of_each_kind_of_layer() -> None:
    """Gemma 3 has frequencies for each kind of layer; only those that stretch are touched."""
    config: PreTrainedConfig = copy.deepcopy(CONFIGS["gemma3"])
    config.rope_parameters["full_attention"] = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}
    model = AutoModelForCausalLM.from_config(config)
    assert stretching(model) == {"dynamic"}
    rotary = model.model.rotary_emb
    local, full = rotary.sliding_attention_inv_freq.clone(), rotary.full_attention_inv_freq.clone()
    fix_positions(model, 1_024)
    assert not stretching(model)
    assert torch.equal(rotary.sliding_attention_inv_freq, local)
    assert not torch.equal(rotary.full_attention_inv_freq, full)


def _frequencies(model: Any) -> torch.Tensor:
    found: torch.Tensor = model.model.rotary_emb.inv_freq
    return found
