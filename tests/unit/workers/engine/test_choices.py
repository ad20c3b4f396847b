"""Several answers to one prompt: one outcome, each answer with its own seed, the prompt computed once."""

import pytest

from pelton.workers.engine.api import Completion, EngineRequest, Failure, FailureKind, Outcome, SamplingParams
from pelton.workers.engine.choices import ChoiceEngine
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.engine.padded.engine import PaddedConfig, PaddedEngine
from pelton.workers.engine.simulated.config import SimulatedConfig
from pelton.workers.engine.simulated.engine import SimulatedEngine
from tests.unit.workers.engine._support.driving import EOS

PROMPT = list(range(40, 57))
SAMPLED = SamplingParams(12, temperature=1.0, seed=3, ignore_eos=True, n=4)
PAGE = 4


def paged(loaded: LoadedModel, max_running: int = 8) -> ContinuousEngine:
    return ContinuousEngine(loaded, ContinuousConfig(kv_memory_gib=0.001, page_size=PAGE, max_running=max_running))


def drain(engine: ChoiceEngine) -> list[Outcome]:
    outcomes = []
    while engine.running:
        outcomes += engine.step()
    return outcomes


def answers(engine: ChoiceEngine, params: SamplingParams, request_id: int = 0) -> list[tuple[int, ...]]:
    engine.add(EngineRequest(request_id, PROMPT, params))
    [outcome] = drain(engine)
    assert isinstance(outcome, Completion)
    assert outcome.request_id == request_id
    return [each.token_ids for each in outcome.all]


def test_each_answer_has_its_own_seed(loaded: LoadedModel) -> None:
    """Answers differ, come again with the same seed, and the first is the one that is given alone."""
    engine = ChoiceEngine(paged(loaded))
    first = answers(engine, SAMPLED)
    assert len(set(first)) == 4
    assert answers(engine, SAMPLED) == first
    assert (
        answers(ChoiceEngine(paged(loaded)), SamplingParams(12, temperature=1.0, seed=3, ignore_eos=True)) == first[:1]
    )


def test_the_prompt_is_computed_once(loaded: LoadedModel) -> None:
    """All but the first find the prompt's full pages."""
    inner = paged(loaded)
    answers(ChoiceEngine(inner), SAMPLED)
    assert inner.prefix_stats.hit == 3 * (len(PROMPT) // PAGE * PAGE)


@pytest.mark.parametrize("kind", ["continuous", "padded", "simulated"])
def test_more_answers_than_rows(loaded: LoadedModel, kind: str) -> None:
    """Choices that find no room wait, and go before new requests."""
    inner: SimulatedEngine | PaddedEngine | ContinuousEngine
    if kind == "simulated":
        inner = SimulatedEngine(SimulatedConfig(ttft_ms=0, itl_ms=0, max_running=2))
    elif kind == "padded":
        inner = PaddedEngine(loaded, PaddedConfig(200, 2, 0.05))
    else:
        inner = paged(loaded, max_running=2)
    engine = ChoiceEngine(inner)
    engine.add(EngineRequest(7, PROMPT, SamplingParams(12, temperature=1.0, seed=1, n=8)))
    [outcome] = drain(engine)
    assert isinstance(outcome, Completion)
    assert len(outcome.all) == 8


def test_a_cancel_ends_all_answers_with_one_failure(loaded: LoadedModel) -> None:
    engine = ChoiceEngine(paged(loaded, max_running=2))
    engine.add(EngineRequest(7, PROMPT, SAMPLED))
    engine.step()
    engine.cancel(7)
    [outcome] = drain(engine)
    assert isinstance(outcome, Failure)
    assert (outcome.request_id, outcome.kind) == (7, FailureKind.CANCELLED)
    assert engine.running == 0


def test_a_bias_and_ends_that_come_too_early(loaded: LoadedModel) -> None:
    """A bias decides what is said; no end is chosen before `min_tokens`; a stop token ends the answer."""
    params = SamplingParams(12, temperature=0.0, logit_bias=((65, 100.0),))
    assert answers(ChoiceEngine(paged(loaded)), params) == [(65,) * 12]
    early = SamplingParams(12, temperature=0.0, logit_bias=((EOS, 90.0), (65, 80.0)), min_tokens=3)
    assert answers(ChoiceEngine(paged(loaded)), early) == [(65, 65, 65, EOS)]
    stopped = SamplingParams(12, temperature=0.0, logit_bias=((65, 90.0),), stop_token_ids=(65,))
    assert answers(ChoiceEngine(paged(loaded)), stopped) == [(65,)]


def test_the_same_in_padded_batches(loaded: LoadedModel) -> None:
    params = SamplingParams(12, temperature=0.0, logit_bias=((EOS, 90.0), (65, 80.0)), min_tokens=3)
    assert answers(ChoiceEngine(PaddedEngine(loaded, PaddedConfig(200, 2, 0.0))), params) == [(65, 65, 65, EOS)]
