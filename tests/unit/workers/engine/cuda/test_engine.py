"""The engine as it runs on a GPU, kernels and all, against `generate` on the CPU in float32."""

import copy
from typing import Any

import pytest
import torch
from torch._inductor import config as inductor

from pelton.workers.engine.api import Completion, EngineRequest, SamplingParams
from pelton.workers.engine.attention.kv_cache import KVCache
from pelton.workers.engine.config import ContinuousConfig, EngineLimits
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.continuous.executors import HostExecutor
from pelton.workers.engine.continuous.model_runner import PackedRunner
from pelton.workers.engine.cuda.executor import DeviceExecutor
from pelton.workers.engine.cuda.packed_attention import PackedAttention
from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.loading import LoadedModel, wrap
from pelton.workers.engine.sampling.sampler import Sampler
from tests.unit.workers.engine._support.kernels import DEVICES, ON_GPU
from tests.unit.workers.engine._support.reference import CONFIGS, pristine, prompt_of, run

PAGE = 16
REQUESTS = [(1, 4), (40, 1), (5, 2), (37, 7)]


def make_engine(family: str, device: str, **limits: Any) -> ContinuousEngine:
    loaded = wrap(copy.deepcopy(pristine(family)).to(device))
    config = ContinuousConfig(**{"page_size": PAGE, "kv_memory_gib": 0.01, "max_running": 4, **limits})
    return ContinuousEngine(loaded, config, make_executor=DeviceExecutor)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("family", ["gemma2", "qwen3"])
def test_kernels_in_their_place(family: str, device: str) -> None:
    """Chunks, pages of earlier ones and decodes through the kernels: what `generate` says."""
    engine = make_engine(family, device, max_batch_tokens=25)
    run(engine, family, [(1, 4), (27, 1), (20, 7)], new=2)  # a token takes the interpreter a tenth of a second


@pytest.mark.parametrize("device", DEVICES)
def test_kernels_for_steps_one_by_one(device: str) -> None:
    """As a model in parts runs them: tables and splits made from each batch, and what is stored written nowhere."""

    def executor(loaded: LoadedModel, store: KVCache, _: EngineLimits) -> HostExecutor:
        attention = PackedAttention(2)
        return HostExecutor(PackedRunner(loaded.model, store, attention), Sampler(loaded.device), None)

    loaded = wrap(copy.deepcopy(pristine("gemma2")).to(device))
    config = ContinuousConfig(page_size=PAGE, kv_memory_gib=0.01, max_running=4, max_batch_tokens=25)
    engine = ContinuousEngine(loaded, config, make_executor=executor)
    run(engine, "gemma2", [(1, 4), (27, 1), (20, 7)], new=2)
    run(engine, "gemma2", [(2 * PAGE, 3)], new=2)
    run(engine, "gemma2", [(2 * PAGE, 3)], new=2)
    assert engine.prefix_stats.hit > 0


@pytest.mark.gpu
@pytest.mark.parametrize("device", [ON_GPU])
@pytest.mark.parametrize("family", CONFIGS)
def test_every_family(family: str, device: str) -> None:
    """As the engine comes, not yet warm: no graphs, nothing compiled but the kernels."""
    loaded = wrap(copy.deepcopy(pristine(family)).to(device))
    engine = ContinuousEngine(loaded, ContinuousConfig(page_size=PAGE, kv_memory_gib=0.01, max_batch_tokens=25))
    run(engine, family, REQUESTS, new=8)


@pytest.mark.gpu
@pytest.mark.parametrize("device", [ON_GPU])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3", "qwen3"])
def test_compiled_and_captured(family: str, device: str, caplog: pytest.LogCaptureFixture) -> None:
    """Warm, with as many pages as there is room for: the same answers, from the graphs and from packed steps."""
    engine = make_engine(family, device, kv_memory_gib=None, max_batch_tokens=25)
    engine.warm_up()
    assert "could not be" not in caplog.text  # the engine goes on without either, only slower
    executor = engine._executor
    assert isinstance(executor, DeviceExecutor)
    captured = executor._graphs._captured
    assert {shape.singles for shape in captured if not shape.chunked} == {2, 4}
    assert set(executor._mixed) < set(captured)
    run(engine, family, REQUESTS, new=12)
    run(engine, family, REQUESTS[:1], new=12)


@pytest.mark.gpu
@pytest.mark.parametrize("device", [ON_GPU])
@pytest.mark.parametrize("kv_dtype", ["int8", "fp8"])
def test_quantised_pages_in_captured_steps(kv_dtype: str, device: str, caplog: pytest.LogCaptureFixture) -> None:
    """They are captured too, and say the same to the same requests each time."""
    engine = make_engine(
        "llama", device, kv_memory_gib=None, max_batch_tokens=25, kv_dtype=kv_dtype, prefix_cache=False
    )
    engine.warm_up()
    assert "could not be" not in caplog.text
    answers = []
    for _ in range(2):
        for index, (length, seed) in enumerate(REQUESTS):
            engine.add(
                EngineRequest(index, prompt_of(length, seed), SamplingParams(8, temperature=0.0, ignore_eos=True))
            )
        outcomes = []
        while engine.running:
            outcomes += engine.step()
        answers.append({each.request_id: each.token_ids for each in outcomes if isinstance(each, Completion)})
    assert len(answers[0]) == len(REQUESTS)
    assert answers[0] == answers[1]


@pytest.mark.gpu
@pytest.mark.parametrize("device", [ON_GPU])
@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_dependent_launches(family: str, device: str, caplog: pytest.LogCaptureFixture) -> None:
    """Kernels that begin while others end, ours and the compiler's, give the same answers."""
    with inductor.patch({"triton.enable_pdl": True}):
        engine = make_engine(family, device, kv_memory_gib=None, max_batch_tokens=25)
        engine.warm_up()
        assert "could not be" not in caplog.text
        run(engine, family, REQUESTS, new=12)


@pytest.mark.gpu
@pytest.mark.parametrize("device", [ON_GPU])
def test_answers_that_no_batch_changes(device: str) -> None:
    """Computed step by step with plain PyTorch, which is what makes them so: the same answers."""
    loaded = wrap(copy.deepcopy(pristine("llama")).to(device))
    config = ContinuousConfig(page_size=PAGE, kv_memory_gib=0.01, max_batch_tokens=25, batch_invariant=True)
    run(ContinuousEngine(loaded, config), "llama", REQUESTS, new=8)


@pytest.mark.gpu
@pytest.mark.parametrize("device", [ON_GPU])
def test_sampled_answers_are_those_of_a_cpu(device: str) -> None:
    """Seeded answers are the same wherever they are drawn, in float32."""
    params = [
        SamplingParams(10, temperature=0.8, top_p=0.9, seed=1, ignore_eos=True),
        SamplingParams(10, temperature=1.2, top_k=5, presence_penalty=0.9, seed=2, ignore_eos=True),
        SamplingParams(10, temperature=1.5, min_p=0.1, seed=3, logprobs=2, ignore_eos=True),
    ]
    answers = []
    for engine in (
        make_engine("llama", device),
        ContinuousEngine(wrap(copy.deepcopy(pristine("llama"))), ContinuousConfig(kv_memory_gib=0.01)),
    ):
        for index, own in enumerate(params):
            engine.add(EngineRequest(index, [3, 1, 4, 1, 5], own))
        outcomes = []
        while engine.running:
            outcomes += engine.step()
        answers.append({each.request_id: each.token_ids for each in outcomes if isinstance(each, Completion)})
    assert answers[0] == answers[1]


@pytest.mark.gpu
@pytest.mark.parametrize("device", [ON_GPU])
def test_pages_that_the_kernels_cannot_read_are_refused(device: str) -> None:
    """The message names the setting."""
    loaded = wrap(copy.deepcopy(pristine("llama")).to(device))
    with pytest.raises(ModelLoadError, match=r"engine\.page_size: on a GPU a power of two from 16, not 24"):
        ContinuousEngine(loaded, ContinuousConfig(page_size=24, kv_memory_gib=0.01))


@pytest.mark.gpu
@pytest.mark.parametrize("device", [ON_GPU])
def test_too_many_pages_are_said_at_start(device: str) -> None:
    """Memory that does not last is told with the setting to lower."""
    loaded = wrap(copy.deepcopy(pristine("llama")).to(device))
    with pytest.raises(ModelLoadError, match=r"lower engine\.kv_memory_gib"):
        ContinuousEngine(loaded, ContinuousConfig(page_size=16, kv_memory_gib=100_000.0))


def test_the_interpreter_is_on_where_there_is_no_gpu() -> None:
    """Else the kernels' tests would be skipped in silence."""
    assert torch.cuda.is_available() or __import__("triton").knobs.runtime.interpret
