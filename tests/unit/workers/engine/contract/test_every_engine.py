"""What a worker relies on in every engine: the continuous, the padded and the simulated one keep the same contract."""

import itertools
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pelton.pipeline.request_queue import QueuedRequest
from pelton.workers.engine.api import (
    Completion,
    EngineRequest,
    FailureKind,
    FinishReason,
    Outcome,
    SamplingParams,
    StepEngine,
)
from tests.unit.workers.engine._support.driving import GREEDY, PROMPTS, tokens_of
from tests.unit.workers.engine._support.engines import MakeEngine, drain, kinds, run


def test_every_request_is_answered_once(engine: StepEngine) -> None:
    """Under its own id; then the engine is as empty as before, and says what it computed."""
    assert (engine.running, engine.last_step, engine.step()) == (0, None, [])
    outcomes = run(engine, GREEDY)
    assert outcomes.keys() == set(range(len(PROMPTS)))
    assert all(isinstance(outcome, Completion) for outcome in outcomes.values())
    assert engine.last_step is not None
    assert 0 < engine.last_step.useful_tokens <= engine.last_step.computed_tokens
    assert (engine.running, engine.step()) == (0, [])


def test_an_answer_is_the_prompts_own(engine: StepEngine) -> None:
    """Alone, among others, and a second time, a request without chance gets the same tokens."""
    together = tokens_of(run(engine, GREEDY))
    assert tokens_of(run(engine, GREEDY)) == together
    for index, prompt in enumerate(PROMPTS):
        engine.add(EngineRequest(index, prompt, GREEDY))
        (alone,) = drain(engine)
        assert tokens_of({index: alone}) == {index: together[index]}


def test_max_tokens_is_each_requests_own(engine: StepEngine) -> None:
    """A request ends at its own limit, with reason length, and gets no token of a longer one."""
    outcomes = run(engine, *(SamplingParams(n, temperature=0.0, ignore_eos=True) for n in (1, 7, 3, 12)))
    assert {index: len(tokens) for index, tokens in tokens_of(outcomes).items()} == {0: 1, 1: 7, 2: 3, 3: 12}
    assert {getattr(outcome, "finish_reason", None) for outcome in outcomes.values()} == {FinishReason.LENGTH}


def test_log_probabilities_are_given_where_asked_for(engine: StepEngine) -> None:
    """One for each token of the answer, and none for a neighbour that did not ask."""
    asking = SamplingParams(6, temperature=0.0, logprobs=1, ignore_eos=True)
    outcomes = run(engine, asking, GREEDY)
    first, *rest = (outcomes[index] for index in range(len(PROMPTS)))
    assert isinstance(first, Completion)
    assert first.logprobs is not None
    assert [entry.token_id for entry in first.logprobs] == list(first.token_ids)
    assert {getattr(outcome, "logprobs", "failed") for outcome in rest} == {None}


def test_a_cancel_ends_one_request_alone(engine: StepEngine) -> None:
    """From any thread, at the next step; ids that are not there are no error, and its id can be used again."""
    expected = tokens_of(run(engine, GREEDY))
    for index, prompt in enumerate(PROMPTS):
        engine.add(EngineRequest(index, prompt, GREEDY))
    thread = threading.Thread(target=lambda: list(map(engine.cancel, (2, 2, 99))))
    thread.start()
    thread.join()
    first = engine.step()
    assert kinds(first).get(2) is FailureKind.CANCELLED
    outcomes = [*first, *drain(engine)]
    assert kinds(outcomes) == {0: None, 1: None, 2: FailureKind.CANCELLED, 3: None}
    answered = tokens_of({outcome.request_id: outcome for outcome in outcomes})
    assert answered == {index: expected[index] for index in (0, 1, 3)}
    engine.add(EngineRequest(2, PROMPTS[2], GREEDY))
    assert kinds(drain(engine)) == {2: None}


def test_a_cancel_of_what_has_ended_does_nothing(engine: StepEngine) -> None:
    """Nor does it wait for a later request of the same id."""
    run(engine, GREEDY)
    engine.cancel(1)
    engine.add(EngineRequest(1, PROMPTS[1], GREEDY))
    assert kinds(drain(engine)) == {1: None}


def test_deadlines_end_their_requests_alone(make_engine: MakeEngine) -> None:
    """Before the first step or in the middle of an answer; who has none, or a later one, is answered."""
    ticks = itertools.count()
    engine = make_engine(lambda: 50.0 + next(ticks))
    long = SamplingParams(100, temperature=0.0, ignore_eos=True)
    for index, (params, deadline) in enumerate(((GREEDY, 49.0), (long, 55.0), (GREEDY, None), (GREEDY, 1e9))):
        engine.add(EngineRequest(index, PROMPTS[index], params, deadline))
    assert kinds(drain(engine)) == {0: FailureKind.DEADLINE, 1: FailureKind.DEADLINE, 2: None, 3: None}


def test_an_id_in_use_is_refused(engine: StepEngine) -> None:
    """The caller's mistake, raised at once; the request that has the id is not harmed."""
    engine.add(EngineRequest(1, [1], GREEDY))
    with pytest.raises(ValueError, match="request id 1 is already in the engine"):
        engine.add(EngineRequest(1, [2], GREEDY))
    assert kinds(drain(engine)) == {1: None}


def test_what_is_selected_fits(engine: StepEngine) -> None:
    """Nothing of nothing; of what waits the oldest, no more than there is room for, and never nobody when idle."""
    assert engine.select([], 1.0).indexes == ()
    waiting = [QueuedRequest(None, 3, 4, since=0.0) for _ in range(20)]
    chosen = engine.select(waiting, 1.0).indexes
    assert chosen == tuple(range(8))
    for index in chosen:
        engine.add(EngineRequest(index, [1, 2, 3], SamplingParams(4)))
    assert engine.select(waiting, 1.0).indexes == ()
    assert kinds(drain(engine)) == dict.fromkeys(chosen)
    assert engine.select(waiting, 1.0).indexes == chosen


def test_limits_are_said_before_the_first_request(engine: StepEngine) -> None:
    """Intake asks for them: what is longer can never run."""
    engine.warm_up()
    assert (engine.running, engine.step()) == (0, [])
    assert engine.context_length > 0
    assert engine.max_request_tokens > 0


@given(
    story=st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(1, 12), st.sampled_from([None, 49.0, 60.0, 1e9])),
            st.tuples(st.just("cancel"), st.integers(0, 12), st.none()),
            st.tuples(st.just("step"), st.just(0), st.none()),
        ),
        max_size=25,
    )
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_everybody_gets_one_outcome(make_engine: MakeEngine, story: list[tuple[Any, ...]]) -> None:
    """Arrivals, cancels and deadlines in any order: each request ends once; only a cause of its own makes it fail."""
    ticks = itertools.count()
    engine = make_engine(lambda: 50.0 + next(ticks))
    limits: dict[int, tuple[int, float | None]] = {}
    cancelled: set[int] = set()
    outcomes: list[Outcome] = []
    for act, number, deadline in story:
        if act == "add" and engine.running < 8:
            limits[len(limits)] = (number, deadline)
            params = SamplingParams(number, temperature=0.0, ignore_eos=True)
            engine.add(EngineRequest(len(limits) - 1, [number, 7], params, deadline))
        elif act == "cancel":
            engine.cancel(number)
            cancelled.add(number)
        elif act == "step":
            outcomes += engine.step()
    outcomes += drain(engine)
    assert sorted(outcome.request_id for outcome in outcomes) == list(limits)
    for outcome in outcomes:
        limit, deadline = limits[outcome.request_id]
        if isinstance(outcome, Completion):
            assert len(outcome.token_ids) == limit
        elif outcome.kind is FailureKind.CANCELLED:
            assert outcome.request_id in cancelled
        else:
            assert outcome.kind is FailureKind.DEADLINE
            assert deadline is not None
