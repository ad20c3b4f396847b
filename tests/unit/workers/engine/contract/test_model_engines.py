"""What engines that run a model promise besides: stop strings, and faults that are their request's own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pelton.workers.engine.api import (
    Completion,
    EngineRequest,
    Failure,
    FailureKind,
    FinishReason,
    SamplingParams,
    StepEngine,
)
from pelton.workers.engine.model.loading import LoadedModel
from tests.unit.workers.engine._support.driving import GREEDY, PROMPTS, Hook, script, tokens_of
from tests.unit.workers.engine._support.engines import REAL, drain, kinds, run

pytestmark = pytest.mark.parametrize("make_engine", REAL, indirect=True)


@pytest.mark.parametrize(
    ("said", "stop", "text"),
    [(b"one STOP two", "STOP", b"one STOP"), ("10 € and".encode(), "€ ", "10 € ".encode())],
    ids=["over tokens", "within a character"],
)
def test_a_stop_string_ends_an_answer(
    engine: StepEngine, on_logits: Callable[[Hook], None], said: bytes, stop: str, text: bytes
) -> None:
    """At the token that completes it, which is the last of the answer; the reason is stop."""
    on_logits(script(said))
    engine.add(EngineRequest(1, PROMPTS[0], SamplingParams(20, temperature=0.0, stop=(stop,))))
    (outcome,) = drain(engine)
    assert isinstance(outcome, Completion)
    assert (bytes(outcome.token_ids), outcome.finish_reason) == (text, FinishReason.STOP)


@pytest.mark.parametrize("wrong", [EngineRequest(2, [], GREEDY), EngineRequest(2, [1], SamplingParams(0))])
def test_impossible_requests_are_refused(engine: StepEngine, wrong: EngineRequest) -> None:
    """An empty prompt, nothing to generate: raised at once, and nothing is kept of it."""
    with pytest.raises(ValueError, match="request 2"):
        engine.add(wrong)
    assert engine.running == 0


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_broken_logits_fail_their_request_alone(
    engine: StepEngine, on_logits: Callable[[Hook], None], broken: float
) -> None:
    """A row of NaN or infinity gets an error, never a token made of it; the others' answers are what they were."""
    expected = tokens_of(run(engine, GREEDY))
    passes = 0

    def break_a_row(logits: torch.Tensor) -> torch.Tensor:
        nonlocal passes
        passes += 1
        if passes == 4:
            logits[1, 17] = broken
        return logits

    on_logits(break_a_row)
    outcomes = run(engine, GREEDY)
    [failed] = [index for index, outcome in outcomes.items() if isinstance(outcome, Failure)]
    assert kinds(list(outcomes.values()))[failed] is FailureKind.INVALID_OUTPUT
    assert tokens_of(outcomes) == {index: tokens for index, tokens in expected.items() if index != failed}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("CUDA error: something"), FailureKind.INTERNAL),
        (torch.OutOfMemoryError("CUDA out of memory"), FailureKind.OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), FailureKind.OUT_OF_MEMORY),
    ],
    ids=["error", "device memory", "host memory"],
)
def test_who_makes_a_step_fail_fails_alone(
    engine: StepEngine, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: FailureKind
) -> None:
    """What raises is tried again request by request; the engine goes on as if nothing had been."""
    params = [SamplingParams(8, temperature=chance, ignore_eos=True, seed=5) for chance in (0.0, 1.0, 0.0, 1.0)]
    expected = tokens_of(run(engine, *params))
    forward = loaded.model.forward

    def fail_on_109(**inputs: Any) -> Any:
        if inputs["input_ids"].numel() > 1 and 109 in inputs["input_ids"]:
            raise error
        return forward(**inputs)

    with monkeypatch.context() as patch:
        patch.setattr(loaded.model, "forward", fail_on_109)
        outcomes = run(engine, *params)
    failure = outcomes[3]
    assert isinstance(failure, Failure)
    assert failure.kind is kind
    assert "alone" in failure.message
    assert tokens_of(outcomes) == {index: expected[index] for index in (0, 1, 2)}
    assert tokens_of(run(engine, *params)) == expected
