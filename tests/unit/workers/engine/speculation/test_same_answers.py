"""The continuous engine with drafts against itself without: whatever is guessed, answers are the same.

Time goes on by a second with each look at the clock, so that steps of all sizes take as long and guesses always pay.
"""

import copy
import itertools
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pelton.workers.engine.api import Completion, EngineRequest, FailureKind, Outcome, SamplingParams
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.model.loading import LoadedModel, wrap
from pelton.workers.engine.model.supported import kv_shape
from tests.unit.workers.engine._support.reference import PAGE, pristine

WORDS = (11, 12, 13, 14, 15, 16)
BONUS = 9.0  # in logits; enough for most tokens, not for all
requests = st.fixed_dictionaries(
    {
        "prompt": st.lists(st.sampled_from(WORDS), max_size=12).map(lambda words: [*WORDS, *WORDS, *words]),
        "max_tokens": st.integers(1, 24),
        "temperature": st.sampled_from([0.0, 0.0, 0.05, 1.0]),
        "seed": st.integers(0, 3),
        "top_p": st.sampled_from([1.0, 0.5]),
        "repetition_penalty": st.sampled_from([1.0, 1.0, 1.3]),
        "frequency_penalty": st.sampled_from([0.0, 0.0, 0.7]),
        "logprobs": st.sampled_from([None, 0, 2]),
        "stop_token_ids": st.sampled_from([(), (11, 50, 90), tuple(range(0, 199, 5))]),
        "min_tokens": st.sampled_from([0, 5]),
    }
)
stories = st.lists(
    st.one_of(
        st.tuples(st.just("add"), requests),
        st.tuples(st.just("step"), st.integers(1, 5)),
        st.tuples(st.just("cancel"), st.integers(0, 5)),
    ),
    min_size=1,
    max_size=10,
)  # fmt: skip


def make_engine(speculation: str, pages: int = 64, **limits: Any) -> ContinuousEngine:
    model = copy.deepcopy(pristine("llama"))
    model.register_forward_hook(_inclined, with_kwargs=True)
    loaded = wrap(model)
    page_gib = kv_shape(loaded.model.config).page_bytes(PAGE, torch.float32) / 2**30
    config = {"page_size": PAGE, "kv_memory_gib": (pages + 0.5) * page_gib, "speculation": speculation, **limits}
    engine = ContinuousEngine(loaded, ContinuousConfig(**config), ticking())
    if engine._speculator is not None:
        for size in range(120, 1, -1):  # as if it had run long; the smallest last, since theirs must be fresh
            engine._speculator._costs.observe(size // 2, 1.0)
    return engine


def ticking() -> Callable[[], float]:
    """A clock that goes on by a second with each look at it."""
    seconds = itertools.count()
    return lambda: float(next(seconds))


def _inclined(_module: Any, _positional: Any, given: dict[str, Any], output: Any) -> None:
    """Incline a model towards saying the words in their order: of what is guessed much comes true, and much fails."""
    tokens = given["input_ids"][0, given["logits_to_keep"]]
    for row, token in enumerate(tokens.tolist()):
        output.logits[0, row, WORDS[(token - WORDS[0] + 1) % len(WORDS)]] += BONUS


def answers(engine: ContinuousEngine, story: list[tuple[str, Any]]) -> tuple[dict[int, Outcome], dict[int, list[int]]]:
    """What a story ends in, and the tokens that were streamed."""
    outcomes: dict[int, Outcome] = {}
    streamed: dict[int, list[int]] = {}

    def note(index: int) -> Callable[[int, int], None]:
        def on_token(place: int, token: int) -> None:
            assert place == len(streamed[index])
            streamed[index].append(token)

        return on_token

    def step() -> None:
        outcomes.update({outcome.request_id: outcome for outcome in engine.step()})

    added = 0
    for kind, detail in story:
        if kind == "add":
            prompt = detail["prompt"]
            params = SamplingParams(**{name: value for name, value in detail.items() if name != "prompt"})
            streamed[added] = []
            engine.add(EngineRequest(added, prompt, params, on_token=note(added)))
            added += 1
        elif kind == "cancel":
            engine.cancel(detail)
        else:
            for _ in range(detail):
                step()
    while engine.running:
        step()
    return outcomes, streamed


@settings(max_examples=25, deadline=None)
@given(story=stories, pages=st.integers(16, 40), max_batch_tokens=st.integers(6, 60))
def test_answers_are_the_same_to_the_last_bit(story: list[tuple[str, Any]], pages: int, max_batch_tokens: int) -> None:
    """Tokens, ends, log-probabilities, streamed tokens and usage are those of an engine that guesses nothing, greedy or
    by seed, with penalties, under preemption and cancels; in the end all pages come back."""
    limits = {"pages": pages, "max_batch_tokens": max_batch_tokens, "max_running": 5, "batch_invariant": True}
    plain, plain_streamed = answers(make_engine("off", **limits), story)
    engine = make_engine("prompt", **limits)
    found, streamed = answers(engine, story)
    assert found.keys() == plain.keys()
    for index, expected in plain.items():
        outcome = found[index]
        if isinstance(expected, Completion) and isinstance(outcome, Completion):
            assert (outcome.token_ids, outcome.finish_reason) == (expected.token_ids, expected.finish_reason)
            assert outcome.logprobs == expected.logprobs
            assert streamed[index] == plain_streamed[index]
        else:  # with drafts a request may be done before the step in which it would have been cancelled
            assert expected == outcome or getattr(expected, "kind", None) is FailureKind.CANCELLED
    assert engine._pool.available == pages
    if engine.last_step is not None:
        event("guesses came true" if engine.last_step.speculation.accepted else "no guess came true")


def test_guesses_come_true() -> None:
    """The stories above draft tokens, of which some are accepted and some are not; fewer steps are taken."""
    story = [("add", {"prompt": [*WORDS] * 4, "max_tokens": 60, "temperature": 1.0, "seed": seed}) for seed in (1, 2)]
    engine = make_engine("prompt", max_batch_tokens=60, max_running=5)
    plain = answers(make_engine("off", max_batch_tokens=60, max_running=5), story)
    assert answers(engine, story)[1] == plain[1]
    stats = engine.last_step.speculation
    assert 0 < stats.accepted < stats.drafted


def drafting_engine() -> ContinuousEngine:
    """An engine whose next step verifies guesses."""
    engine = make_engine("prompt", max_batch_tokens=60, max_running=5)
    engine.add(EngineRequest(0, [*WORDS] * 4, SamplingParams(40, temperature=0.0)))
    while not engine.last_step or not engine.last_step.speculation.drafted:
        engine.step()
    return engine


def test_drafts_that_break_logits_cost_no_answer() -> None:
    """Where a step with guesses gives NaN its request is computed again without, and says the same."""
    engine = drafting_engine()
    plain = make_engine("off")
    plain.add(EngineRequest(0, [*WORDS] * 4, SamplingParams(40, temperature=0.0)))

    def break_drafts(_module: Any, _positional: Any, output: Any) -> None:
        if 1 < output.logits.shape[1] < len(WORDS) * 4:
            output.logits[0, 1:] = torch.nan

    engine._loaded.model.register_forward_hook(break_drafts)
    [expected], [found] = drained(plain), drained(engine)
    assert isinstance(expected, Completion)
    assert isinstance(found, Completion)
    assert found.token_ids == expected.token_ids
    assert engine._pool.available == engine._pool.num_pages


def test_drafts_that_make_a_step_fail_cost_no_answer() -> None:
    """A step with guesses that raises is tried again without them."""
    engine = drafting_engine()
    drafted = []

    def fail(_module: Any, given: Any, named: dict[str, Any]) -> None:  # noqa: ARG001 (a hook's signature)
        if named["input_ids"].shape[1] > 1:
            drafted.append(named["input_ids"].shape[1])
            raise MemoryError("too large a step")

    engine._loaded.model.register_forward_pre_hook(fail, with_kwargs=True)
    [found] = drained(engine)
    assert isinstance(found, Completion)
    assert len(found.token_ids) == 40
    assert drafted


@pytest.mark.parametrize(
    "stop", [("\x0f\x10",), ("\x10\x0b\x0c", "\r\x0e\x0f\x10\x0b\x0c\r"), ("nowhere",)], ids=["two", "many", "none"]
)
def test_stop_strings_end_answers_at_the_same_token(loaded: LoadedModel, stop: tuple[str, ...]) -> None:
    """A stop string inside of what was guessed ends the answer where it stands: nothing behind it is in the answer."""
    loaded.model.register_forward_hook(_inclined, with_kwargs=True)
    prompt, params = [*WORDS] * 4, SamplingParams(40, temperature=0.0, stop=stop, ignore_eos=True)
    found = []
    choices: tuple[Literal["prompt", "off"], ...] = ("prompt", "off")
    for speculation in choices:
        limits: dict[str, Any] = {"page_size": 8, "kv_memory_gib": 0.01, "batch_invariant": True}
        engine = ContinuousEngine(loaded, ContinuousConfig(speculation=speculation, **limits), ticking())
        for index in range(3):  # the later ones begin when the costs of steps are known
            engine.add(EngineRequest(index, prompt, params))
            found += [(speculation, index, *ending(outcome)) for outcome in drained(engine)]
        assert engine.last_step is not None
        assert (engine.last_step.speculation.accepted > 0) == (speculation == "prompt")
    guessed, plain = found[:3], found[3:]
    assert [each[1:] for each in guessed] == [each[1:] for each in plain]


def ending(outcome: Outcome) -> tuple[Any, ...]:
    if not isinstance(outcome, Completion):
        pytest.fail(outcome.message)
    return outcome.token_ids, outcome.finish_reason


def drained(engine: ContinuousEngine) -> list[Outcome]:
    outcomes: list[Outcome] = []
    while engine.running:
        outcomes += engine.step()
    return outcomes
