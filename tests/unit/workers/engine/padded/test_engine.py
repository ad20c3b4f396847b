"""The padded engine: each request gets the answer it would get alone, or a failure of its own."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from pelton.pipeline.request_queue import QueuedRequest
from pelton.workers.engine.api import (
    Completion,
    EngineRequest,
    Failure,
    FailureKind,
    FinishReason,
    Outcome,
    SamplingParams,
    Selection,
)
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.engine.padded.engine import PaddedConfig, PaddedEngine
from tests.unit.workers.engine._support.driving import EOS, GREEDY, PROMPTS, Hook


def make_engine(loaded: LoadedModel, **config: Any) -> PaddedEngine:
    limits = {"max_batch_tokens": 4096, "max_batch_size": 8, "max_batch_wait_s": 0.0, **config}
    return PaddedEngine(loaded, PaddedConfig(**limits))


def run(
    loaded: LoadedModel, prompts: Sequence[Sequence[int]], params: SamplingParams | Sequence[SamplingParams] = GREEDY
) -> list[Outcome]:
    """One batch; outcomes in the order of the prompts."""
    engine = make_engine(loaded)
    each = [params] * len(prompts) if isinstance(params, SamplingParams) else params
    for index, (prompt, own) in enumerate(zip(prompts, each, strict=True)):
        engine.add(EngineRequest(index, prompt, own))
    return sorted(engine.step(), key=lambda outcome: outcome.request_id)


def completions(outcomes: Sequence[Outcome]) -> list[Completion]:
    return [outcome for outcome in outcomes if isinstance(outcome, Completion)]


def tokens_of(outcomes: Sequence[Outcome]) -> list[tuple[int, ...]]:
    return [completion.token_ids for completion in completions(outcomes)]


def script(*rows: bytes | list[int]) -> Hook:
    """A hook that makes row i say `rows[i]`, and spaces after that."""
    step = 0

    def hook(logits: torch.Tensor) -> torch.Tensor:
        nonlocal step
        chosen = [row[step] if step < len(row) else 32 for row in rows]
        step += 1
        return torch.nn.functional.one_hot(torch.tensor(chosen), logits.shape[-1]).float() * 10

    return hook


def test_any_end_of_sequence_token_stops_its_row_only(loaded: LoadedModel, on_logits: Callable[[Hook], None]) -> None:
    """Each of several end tokens ends a row, the token included; with ignore_eos it is a token like any other."""
    on_logits(script([65, EOS], [65, 66, 257], [65, EOS, 66, 257]))
    normal, ignoring = SamplingParams(5, temperature=0.0), SamplingParams(5, temperature=0.0, ignore_eos=True)
    outcomes = run(loaded, PROMPTS[:3], [normal, normal, ignoring])
    assert tokens_of(outcomes) == [(65, EOS), (65, 66, 257), (65, EOS, 66, 257, 32)]
    reasons = [completion.finish_reason for completion in completions(outcomes)]
    assert reasons == [FinishReason.STOP, FinishReason.STOP, FinishReason.LENGTH]


def test_a_seed_gives_the_same_answer_alone_and_in_any_batch(loaded: LoadedModel) -> None:
    """Sampled answers depend on prompt, parameters and seed only; other seeds give other answers."""
    params = [SamplingParams(12, temperature=0.8, top_p=0.9, seed=seed, ignore_eos=True) for seed in (1, 2, 3, 1)]
    together = tokens_of(run(loaded, PROMPTS, params))
    alone = [tokens_of(run(loaded, [prompt], [own]))[0] for prompt, own in zip(PROMPTS, params, strict=True)]
    assert together == alone
    same_prompt = tokens_of(run(loaded, [PROMPTS[0]] * 4, params))
    assert same_prompt[0] == same_prompt[3]
    assert len(set(same_prompt)) == 3


def test_without_a_seed_answers_differ(loaded: LoadedModel) -> None:
    """Every unseeded request draws its own luck."""
    unseeded = SamplingParams(12, temperature=2.0, ignore_eos=True)
    assert len(set(tokens_of(run(loaded, [PROMPTS[0]] * 4, unseeded)))) == 4


def test_the_models_own_generation_config_has_no_say(loaded: LoadedModel) -> None:
    """Temperature, penalties, lengths and caches that come with a model must not change what was asked for."""
    expected = tokens_of(run(loaded, PROMPTS))
    loaded.model.generation_config = GenerationConfig(
        do_sample=True, temperature=0.1, top_k=1, repetition_penalty=2.0, min_new_tokens=9, max_length=5,
        no_repeat_ngram_size=1, suppress_tokens=[1, 2, 3], num_beams=2, num_return_sequences=2, eos_token_id=[EOS],
        cache_implementation="static", renormalize_logits=True, output_hidden_states=True,
    )  # fmt: skip
    assert tokens_of(run(loaded, PROMPTS)) == expected


def test_logprobs_are_those_of_a_plain_forward_pass(loaded: LoadedModel) -> None:
    """Chosen and alternative log-probabilities equal log_softmax of the model's raw logits, sampled rows too."""
    params = [
        SamplingParams(6, temperature=temperature, seed=1, logprobs=logprobs, ignore_eos=True)
        for temperature, logprobs in ((0.0, 3), (1.5, 0), (1.0, None))
    ]
    outcomes = completions(run(loaded, PROMPTS[:3], params))
    assert outcomes[2].logprobs is None
    for prompt, outcome, top in ((PROMPTS[0], outcomes[0], 3), (PROMPTS[1], outcomes[1], 0)):
        with torch.no_grad():
            logits = loaded.model(torch.tensor([[*prompt, *outcome.token_ids]])).logits[0]
        expected = torch.log_softmax(logits, dim=-1)[len(prompt) - 1 : -1]
        assert outcome.logprobs is not None
        for entry, row, token in zip(outcome.logprobs, expected, outcome.token_ids, strict=True):
            assert entry.token_id == token
            assert entry.logprob == pytest.approx(row[token].item(), abs=1e-4)
            assert [value for _, value in entry.top] == pytest.approx(row.topk(top).values.tolist(), abs=1e-4)


def test_cancel_from_another_thread_ends_a_row_midway(loaded: LoadedModel, on_logits: Callable[[Hook], None]) -> None:
    """The cancelled row comes out at the next token, its mate with its full answer; unknown ids are no error."""
    engine = make_engine(loaded)
    engine.add(EngineRequest(1, PROMPTS[0], GREEDY))
    engine.add(EngineRequest(2, PROMPTS[1], SamplingParams(1_000, temperature=0.0, ignore_eos=True)))
    steps = 0

    def cancel_at_third(_logits: torch.Tensor) -> None:
        nonlocal steps
        steps += 1
        if steps == 3:
            thread = threading.Thread(target=lambda: list(map(engine.cancel, (2, 99))))
            thread.start()
            thread.join()

    on_logits(cancel_at_third)
    outcomes = {outcome.request_id: outcome for outcome in engine.step()}
    assert steps == GREEDY.max_tokens
    assert isinstance(outcomes[2], Failure)
    assert outcomes[2].kind is FailureKind.CANCELLED
    assert tokens_of([outcomes[1]]) == tokens_of(run(loaded, [PROMPTS[0]]))
    assert engine.running == 0


def test_deadlines_end_rows_before_and_during_generation(
    loaded: LoadedModel, on_logits: Callable[[Hook], None]
) -> None:
    """A passed deadline costs no computation; one that passes midway ends its row only."""
    now = 50.0
    limits = PaddedConfig(max_batch_tokens=4096, max_batch_size=8, max_batch_wait_s=0.0)
    engine = PaddedEngine(loaded, limits, clock=lambda: now)
    for request_id, deadline in ((1, 49.0), (2, 52.5), (3, None)):
        engine.add(EngineRequest(request_id, PROMPTS[request_id], GREEDY, deadline))
    rows = []

    def second_per_step(logits: torch.Tensor) -> None:
        nonlocal now
        now += 1
        rows.append(len(logits))

    on_logits(second_per_step)
    outcomes = {outcome.request_id: outcome for outcome in engine.step()}
    assert [o.kind for o in outcomes.values() if isinstance(o, Failure)] == [FailureKind.DEADLINE] * 2
    survivor = outcomes[3]
    assert isinstance(survivor, Completion)
    assert len(survivor.token_ids) == 12
    assert (survivor.prefill_s, survivor.decode_s) == (1.0, 11.0)
    assert rows == [2] * 12


def test_a_batch_too_large_for_memory_is_served_in_parts(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When only the batch as a whole is too much, every request still gets its answer, finished rows keep theirs."""
    params = [SamplingParams(n, temperature=0.0, ignore_eos=True) for n in (2, 12, 12, 12)]
    expected = tokens_of(run(loaded, PROMPTS, params))
    forward = loaded.model.forward
    passes = 0

    def fail_later(**inputs: Any) -> Any:
        nonlocal passes
        passes += 1
        if len(inputs["input_ids"]) > 1 and passes > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(**inputs)

    monkeypatch.setattr(loaded.model, "forward", fail_later)
    assert tokens_of(run(loaded, PROMPTS, params)) == expected
    assert "lower max_batch_tokens" in caplog.text
    assert passes == 5 + 3 * 12


def test_work_is_counted_with_its_padding(loaded: LoadedModel) -> None:
    """Useful tokens are the rows' own; computed ones are rows x padded length."""
    engine = make_engine(loaded)
    for index, (prompt, new) in enumerate(((PROMPTS[0], 2), (PROMPTS[1], 10))):
        engine.add(EngineRequest(index, prompt, SamplingParams(new, temperature=0.0, ignore_eos=True)))
    engine.step()
    assert engine.last_step is not None
    assert (engine.last_step.rows, engine.last_step.useful_tokens) == (2, 3 + 2 + 20 + 10)
    assert engine.last_step.computed_tokens == 2 * (20 + 10)


def test_nothing_more_is_selected_before_the_step(loaded: LoadedModel) -> None:
    """What was added makes one batch; the next one is composed after it."""
    engine = make_engine(loaded, max_batch_size=2)
    waiting = [QueuedRequest(None, 3, 4, since=0.0)] * 3
    assert engine.select(waiting, 1.0).indexes == (0, 1)
    engine.add(EngineRequest(1, [1, 2, 3], GREEDY))
    assert engine.select(waiting, 1.0) == Selection(())
    engine.step()
    assert engine.select(waiting, 1.0).indexes == (0, 1)
    assert (engine.running, engine.step()) == (0, [])


def test_warm_up_leaves_nothing_behind_and_raises_on_a_broken_model(
    loaded: LoadedModel, on_logits: Callable[[Hook], None]
) -> None:
    """A model that only makes NaN must not be called ready."""
    engine = make_engine(loaded)
    engine.warm_up()
    assert (engine.running, engine.step()) == (0, [])
    assert (engine.context_length, engine.max_request_tokens) == (128, 4096)
    on_logits(lambda logits: torch.full_like(logits, torch.nan))
    with pytest.raises(RuntimeError, match="warm-up"):
        engine.warm_up()


def waiting(count: int, per_s: float) -> list[QueuedRequest[None]]:
    """Requests that have come at this pace, the last at 100 s."""
    return [QueuedRequest(None, 4, 4, 100 - (count - 1 - index) / per_s) for index in range(count)]


@pytest.mark.parametrize(("per_s", "window_s"), [(2.0, 0.0), (15.0, 0.0), (40.0, 0.025), (1_000.0, 0.049)])
def test_a_batch_waits_for_company_as_far_as_it_comes(loaded: LoadedModel, per_s: float, window_s: float) -> None:
    """At low load a request goes at once, at high load the batch waits for nearly the longest, from its first on.

    Those that were seen before are not counted again, nor are those that come back.
    """
    engine = make_engine(loaded, max_batch_wait_s=0.05)
    came = waiting(int(10 * per_s), per_s)
    for first in range(0, len(came), 10):
        engine.select(came[: first + 10], came[min(first + 9, len(came) - 1)].since)
    newest = came[-1:]
    for _ in range(5):
        selection = engine.select(newest, 100.0)
        assert bool(selection.indexes) == (window_s == 0)
        if selection.retry_at is not None:
            assert selection.retry_at == pytest.approx(100 + window_s, abs=0.001)
    assert engine.select(newest, 100.05).indexes == (0,)
