"""The continuous engine around the model: ends, faults, shared prefixes, and what the worker sees of it."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from pelton.pipeline.request_queue import QueuedRequest
from pelton.workers.engine import Engine
from pelton.workers.engine.api import EngineRequest, Failure, FailureKind, SamplingParams
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.engine.offline import GenerationError
from pelton.workers.engine.padded.engine import PaddedConfig, PaddedEngine
from tests.unit.workers.engine._support.driving import GREEDY, PROMPTS, Hook, drain, run, tokens_of


def make_engine(loaded: LoadedModel, clock: Callable[[], float] = lambda: 0.0, **limits: Any) -> ContinuousEngine:
    return ContinuousEngine(loaded, ContinuousConfig(**{"page_size": 8, "kv_memory_gib": 0.01, **limits}), clock)


def assert_nothing_left(engine: ContinuousEngine) -> None:
    assert engine.running == 0
    assert engine._pool.available == engine._pool.num_pages


def test_sampled_answers_are_the_padded_engines_and_independent_of_the_batch(loaded: LoadedModel) -> None:
    """Every way of sampling gives the same tokens alone, in a batch and from the padded engine."""
    params = [
        SamplingParams(10, temperature=0.8, top_p=0.9, seed=1, ignore_eos=True),
        SamplingParams(10, temperature=1.2, top_k=5, presence_penalty=0.9, seed=2, ignore_eos=True),
        SamplingParams(10, temperature=0.0, repetition_penalty=1.4, frequency_penalty=0.7, ignore_eos=True),
        SamplingParams(10, temperature=1.5, min_p=0.1, seed=3, logprobs=2, ignore_eos=True),
    ]
    padded = PaddedEngine(loaded, PaddedConfig(4096, 8, 0.0))
    for index, (prompt, own) in enumerate(zip(PROMPTS, params, strict=True)):
        padded.add(EngineRequest(index, prompt, own))
    expected = tokens_of({outcome.request_id: outcome for outcome in padded.step()})
    assert tokens_of(run(make_engine(loaded), params)) == expected
    engine = make_engine(loaded, max_batch_tokens=3, max_running=1)
    for index, (prompt, own) in enumerate(zip(PROMPTS, params, strict=True)):
        engine.add(EngineRequest(index, prompt, own))
        assert tokens_of(drain(engine)) == {index: expected[index]}


def test_cancel_acts_at_the_next_step_and_gives_the_pages_back(loaded: LoadedModel) -> None:
    """A cancel from another thread ends its request, decoding or still in its prompt; the others finish."""
    engine = make_engine(loaded, max_batch_tokens=6, max_running=4)
    expected = tokens_of(run(make_engine(loaded)))
    for index, prompt in enumerate(PROMPTS):
        engine.add(EngineRequest(index, prompt, GREEDY))
    engine.step()
    thread = threading.Thread(target=lambda: list(map(engine.cancel, (0, 1, 99))))
    thread.start()
    thread.join()
    ended = engine.step()
    assert {(outcome.request_id, outcome.kind) for outcome in ended if isinstance(outcome, Failure)} == {
        (0, FailureKind.CANCELLED),
        (1, FailureKind.CANCELLED),
    }
    assert tokens_of(drain(engine)) == {index: expected[index] for index in (2, 3)}
    assert_nothing_left(engine)


def test_nan_keys_never_reach_the_next_owner_of_a_page(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of a request that went wrong are wiped, and no prefix is served from them."""
    expected = tokens_of(run(make_engine(loaded)))
    engine = make_engine(loaded)
    embed = loaded.model.model.embed_tokens
    with monkeypatch.context() as patch:
        patch.setattr(embed, "forward", lambda ids: torch.full((*ids.shape, 32), torch.nan))
        assert {outcome.kind for outcome in run(engine).values() if isinstance(outcome, Failure)} == {
            FailureKind.INVALID_OUTPUT
        }
    assert engine._pool.idle == 0
    assert tokens_of(run(engine)) == expected
    assert all(tensor.isfinite().all() for tensor in (*engine._store.keys, *engine._store.values))


def test_a_lost_device_ends_the_engine(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """What leaves the device unusable is raised, for the process to end and be started anew."""

    def lost(**_: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    engine = make_engine(loaded)
    monkeypatch.setattr(loaded.model, "forward", lost)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        run(engine)


def test_a_shared_prefix_costs_its_computation_once(loaded: LoadedModel) -> None:
    """Questions about one filing compute it once, say what they would say without, and report what was saved."""
    filing = [(7 * token) % 250 for token in range(64)]
    prompts = [[*filing, 100 + question] for question in range(6)]
    cached, plain = make_engine(loaded), make_engine(loaded, prefix_cache=False)
    computed = {}
    answers = {}
    for engine in (cached, plain):
        for index, prompt in enumerate(prompts):
            engine.add(EngineRequest(index, prompt, GREEDY))
        computed[engine] = 0
        answers[engine] = {}
        while engine.running:
            for outcome in engine.step():
                answers[engine][outcome.request_id] = outcome
            assert engine.last_step is not None
            computed[engine] += engine.last_step.computed_tokens
    assert tokens_of(answers[cached]) == tokens_of(answers[plain])
    assert computed[plain] - computed[cached] == 5 * 64
    assert sorted(outcome.cached_tokens for outcome in answers[cached].values()) == [0, *[64] * 5]
    assert (cached.prefix_stats.hit, cached.prefix_stats.asked) == (5 * 64, 6 * 65)


def test_other_tenants_compute_their_own(loaded: LoadedModel) -> None:
    """Without a common salt the same prompt is computed again."""
    engine = make_engine(loaded)
    for index, salt in enumerate(("a", "a", "b")):
        engine.add(EngineRequest(index, list(range(30)), GREEDY, cache_salt=salt))
        drain(engine)
    assert engine.prefix_stats.hit == 24


def test_the_engine_takes_what_it_has_room_for(loaded: LoadedModel) -> None:
    """Selection looks at rows and pages; limits are what the worker asks for."""
    engine = make_engine(loaded, max_running=3)
    assert engine.select([QueuedRequest(None, 3, 4, since=0.0)] * 5, 1.0).indexes == (0, 1, 2)
    engine.add(EngineRequest(1, [1, 2, 3], GREEDY))
    assert engine.select([QueuedRequest(None, 3, 4, since=0.0)] * 5, 1.0).indexes == (0, 1)
    assert (engine.context_length, engine.max_batch_tokens) == (128, 512)
    assert engine.max_request_tokens == engine._pool.num_pages * 8


def test_more_than_the_context_is_refused(loaded: LoadedModel) -> None:
    """Raised at once, and nothing is kept of it."""
    engine = make_engine(loaded)
    with pytest.raises(ValueError, match="request"):
        engine.add(EngineRequest(2, [1] * 100, SamplingParams(29)))
    assert_nothing_left(engine)


def test_warm_up_leaves_nothing_behind_and_raises_on_a_broken_model(
    loaded: LoadedModel, on_logits: Callable[[Hook], None]
) -> None:
    """A model that only makes NaN must not be called ready."""
    engine = make_engine(loaded)
    engine.warm_up()
    assert_nothing_left(engine)
    on_logits(lambda logits: torch.full_like(logits, torch.nan))
    with pytest.raises(RuntimeError, match="warm-up"):
        engine.warm_up()


def test_no_memory_for_a_single_page_is_said_at_start(loaded: LoadedModel) -> None:
    """The message names the setting and what a page takes."""
    with pytest.raises(ModelLoadError, match=r"engine\.kv_memory_gib: a KV page of 8 tokens takes"):
        make_engine(loaded, kv_memory_gib=1e-9)


def test_the_public_face(loaded: LoadedModel) -> None:
    """Loaded from a model in memory, prompts in, completions out in their order, more of them than run at once."""
    engine = Engine.load(loaded.model, page_size=8, kv_memory_gib=0.01, max_running=2)
    prompts = [[index + 1, 7, 9] for index in range(7)]
    completions = engine.generate(prompts, [SamplingParams(index + 1, temperature=0.0) for index in range(7)])
    assert [len(completion.token_ids) for completion in completions] == list(range(1, 8))
    assert engine.generate([prompts[3]], SamplingParams(4, temperature=0.0))[0].token_ids == completions[3].token_ids
    with pytest.raises(TypeError, match="max_rows"):
        Engine.load(loaded.model, max_rows=3)


def test_a_failure_ends_generate_and_leaves_the_engine_usable(
    loaded: LoadedModel, on_logits: Callable[[Hook], None]
) -> None:
    """`generate` says which prompt failed, and the next call starts clean."""
    engine = Engine.load(loaded.model, page_size=8, kv_memory_gib=0.01)
    broken = iter([True])
    on_logits(lambda logits: torch.full_like(logits, torch.nan) if next(broken, False) else logits)
    with pytest.raises(GenerationError, match=r"prompt 0: .*NaN"):
        engine.generate([[1, 2], [3]], GREEDY)
    assert_nothing_left(engine)
    assert len(engine.generate([[1, 2], [3]], GREEDY)) == 2
