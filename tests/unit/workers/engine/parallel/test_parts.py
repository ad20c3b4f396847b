"""An engine in two parts, by two processes on this CPU, says what one process says."""

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import AutoConfig, DeepseekV3Config, LlamaConfig

from pelton.pipeline.settings.engine import EngineSettings
from pelton.workers.engine import Engine
from pelton.workers.engine.api import Completion, EngineRequest, Failure, FailureKind, SamplingParams
from pelton.workers.engine.continuous import kv_memory
from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.sharding import check_plan
from pelton.workers.engine.model.spec import ModelSpec
from pelton.workers.engine.parallel.followers import Followers
from pelton.workers.engine.parallel.loading import check, load_in_parts, load_parts
from pelton.workers.engine.parallel.processes import spawn
from tests.unit.workers.engine._support.parts import Parts, save_family
from tests.unit.workers.engine._support.reference import (
    CONFIGS,
    make_engine,
    prompt_of,
    run,
)
from tests.unit.workers.engine._support.stories import AT_ONCE, STORIES, Story


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """Two processes, started once: that takes seconds, and nothing of one engine is left to the next."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    followers = Followers.start(spawn(2), "cpu")
    yield Parts(followers, tmp_path_factory.mktemp("models"))
    followers.close()
    torch.set_num_threads(threads)


def answer(engine, prompts, params) -> dict[int, tuple[int, ...]]:
    for index, prompt in enumerate(prompts):
        engine.add(EngineRequest(index, prompt, params))
    found = {}
    while engine.running:
        found |= {each.request_id: each.token_ids for each in engine.step() if isinstance(each, Completion)}
    return found


@pytest.mark.parametrize("family", {config.model_type: family for family, config in CONFIGS.items()}.values())
def test_answers_equal_those_of_one_process(parts, family):
    """A mixed batch with shared prefixes, cut into chunks, in every family and so with every way of cutting."""
    engine = parts.engine(family, max_batch_tokens=13, max_running=6)
    run(engine, family, [(1, 4), (23, 1), (5, 2), (40, 7), (12, 5), (30, 1)])
    assert engine.prefix_stats.hit > 0


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param({"pages": 14, "max_batch_tokens": 16}, id="preemption"),
        pytest.param({"batch_invariant": True}, id="batch-invariant"),
        pytest.param({"prefix_cache": False}, id="no prefix cache"),
    ],
)
def test_what_an_engine_can_be_set_to_changes_no_answer(parts, limits):
    """The first rank alone plans, so that the others need not know of any of it."""
    engine = parts.engine("llama", max_running=4, **limits)
    run(engine, "llama", [(20, 1), (22, 2), (9, 3), (18, 6)], new=12)
    assert engine.preemptions > 0 or "pages" not in limits


def inclined(_module, _positional, given_to_it, output) -> None:
    """Incline a model towards counting on from 11 to 16, so that guesses come true."""
    tokens = given_to_it["input_ids"][0, given_to_it["logits_to_keep"]]
    for row, token in enumerate(tokens.tolist()):
        output.logits[0, row, 11 + (token - 10) % 6] += 9.0


def test_guesses_are_verified_in_all_parts(parts):
    """Drafts are rows of their own there too; what comes true is taken."""
    prompt, params = tuple(range(11, 17)) * 4, SamplingParams(24, temperature=0.0, ignore_eos=True)
    seconds = itertools.count()
    engine = parts.engine("llama", speculation="prompt", clock=lambda: float(next(seconds)))
    for size in range(60, 1, -1):  # steps of all sizes take as long: guesses pay
        engine._speculator._costs.observe(size // 2, 1.0)
    found = []
    for each in (engine, make_engine("llama")):
        handle = each._loaded.model.register_forward_hook(inclined, with_kwargs=True)
        found.append(answer(each, [prompt], params))
        handle.remove()
    assert found[0] == found[1]
    assert engine.last_step.speculation.accepted > 0


def test_keys_and_values_in_int8(parts):
    """A scale belongs to one head, so that a part has the same as the whole."""
    prompts = [prompt_of(length, seed) for length, seed in ((20, 1), (9, 3), (18, 6))]
    params = SamplingParams(10, temperature=0.0, ignore_eos=True)
    whole = make_engine("llama", max_running=4, kv_dtype="int8")
    assert answer(parts.engine("llama", max_running=4, kv_dtype="int8"), prompts, params) == answer(
        whole, prompts, params
    )


def test_seeds_choose_as_in_one_process(parts):
    """The tokens are chosen in one place only."""
    prompts = [prompt_of(9, seed) for seed in range(4)]
    params = SamplingParams(10, temperature=1.0, top_p=0.95, seed=7, ignore_eos=True)
    assert answer(parts.engine("llama"), prompts, params) == answer(make_engine("llama"), prompts, params)


@settings(max_examples=10, deadline=None)
@given(story=STORIES, pages=st.integers(12, 30), max_batch_tokens=st.integers(5, 40))
def test_answers_equal_whatever_happens(parts, story, pages, max_batch_tokens):
    """Random arrivals, cancels, preemptions, chunk sizes and prefix hits."""
    engine = parts.engine("llama", pages=pages, max_batch_tokens=max_batch_tokens, max_running=AT_ONCE)
    Story(engine, "llama").tell(story)


def test_pages_are_wiped_in_all_parts(parts):
    """NaN of a broken request must not stay where only the first rank has wiped it."""
    engine = parts.engine("llama", pages=14)
    broken = [True]

    def spoil(_module, _inputs, output) -> None:
        if broken:
            output.logits.fill_(float("nan"))

    handle = engine._loaded.model.register_forward_hook(spoil)
    try:
        engine.add(EngineRequest(0, prompt_of(20, 1), SamplingParams(4)))
        (outcome,) = engine.step()
        assert isinstance(outcome, Failure)
        assert outcome.kind is FailureKind.INVALID_OUTPUT
    finally:
        handle.remove()
    run(engine, "llama", [(20, 1), (22, 2)])


def test_low_precision(parts, tmp_path):
    """bfloat16 is exchanged as it is."""
    spec = ModelSpec(str(save_family("llama", tmp_path)), device="cpu", dtype="bfloat16")
    loaded = load_parts(spec, None, parts.followers)
    assert loaded.dtype == torch.bfloat16
    engine = Parts(parts.followers, tmp_path)
    engine._loaded = {"llama": loaded}
    parts._loaded = {}
    found = answer(engine.engine("llama"), [prompt_of(9, 1)], SamplingParams(6, temperature=0.0, ignore_eos=True))
    assert len(found[0]) == 6


@pytest.mark.usefixtures("parts")
def test_a_second_such_engine_is_refused():
    """PyTorch's process group is one for a process."""
    with pytest.raises(ModelLoadError, match="has such an engine already"):
        Followers.start(spawn(2), "cpu")


def test_settings_that_cannot_be_cut_name_the_fix(tmp_path):
    """Before anything is read."""
    (tmp_path / "x.gguf").touch()
    with pytest.raises(ModelLoadError, match=r"engine\.weights: int8 .* set it to auto"):
        check(ModelSpec("x", device="cpu", weights="int8"), 2)
    with pytest.raises(ModelLoadError, match=r"x\.gguf is GGUF; set model\.path"):
        check(ModelSpec(str(tmp_path), "x.gguf", device="cpu"), 2)


@pytest.mark.parametrize(
    ("config", "ranks", "words"),
    [
        (
            LlamaConfig(hidden_size=96, num_attention_heads=6, num_key_value_heads=3),
            2,
            "the 3 heads of keys .* a divisor of 3",
        ),
        (AutoConfig.for_model("gpt2"), 2, r"does not run this architecture \(gpt2\)"),
        (AutoConfig.for_model("gemma3"), 2, "more than a language model"),
        (DeepseekV3Config(), 2, r"does not run this architecture \(deepseek_v3\)"),
    ],
    ids=["heads", "other", "multimodal", "latent attention"],
)
def test_models_that_cannot_be_cut_name_the_fix(config, ranks, words):
    """A model that came out wrong would answer nonsense."""
    with pytest.raises(ModelLoadError, match=words):
        check_plan(config, ranks)


def test_memory_for_pages_is_said_where_nothing_measures_it():
    """On GPUs; on a CPU all parts share what is free."""
    card, cpu = (SimpleNamespace(device=torch.device(kind)) for kind in ("cuda", "cpu"))
    free: Any = kv_memory._free_bytes
    with pytest.raises(ModelLoadError, match=r"engine\.kv_memory_gib: with engine\.tensor_parallel set"):
        free(None, None, card, 2)
    assert free(None, None, cpu, 4) < free(None, None, cpu, 1) / 2


@pytest.mark.parametrize("kind", ["padded", "simulated"])
def test_other_engines_have_no_parts(kind):
    """Said by the settings."""
    with pytest.raises(ValidationError, match=r"tensor_parallel is for kind .continuous., and kind is"):
        EngineSettings(kind=kind, tensor_parallel=2)


def test_a_model_in_memory_is_refused():
    """The other processes could not read it."""
    with pytest.raises(ModelLoadError, match="from a folder"):
        Engine.load(object(), tensor_parallel=2)


def test_a_refused_model_leaves_no_process(tmp_path):
    """They are started first, so that they import while the first rank does."""
    processes = spawn(2)
    with pytest.raises(ModelLoadError, match=r"model\.path"):
        load_in_parts(ModelSpec(str(tmp_path / "nothing"), device="cpu"), processes, None)
    assert processes[0].process.poll() is not None
