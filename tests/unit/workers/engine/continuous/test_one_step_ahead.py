"""Steps launched before the last one has landed, as on a GPU: whatever happens in between, every answer is its own.

The executor is the GPU's, on a CPU: its slots, tables and packed rows, with attention in plain PyTorch.
"""

import copy
import itertools
from collections.abc import Callable
from contextlib import nullcontext
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.workers.engine.api import (
    Completion,
    EngineRequest,
    Failure,
    FailureKind,
    FinishReason,
    Outcome,
    SamplingParams,
)
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.cuda import executor as executor_module
from pelton.workers.engine.cuda import sampler as sampler_module
from pelton.workers.engine.cuda.executor import DeviceExecutor
from pelton.workers.engine.cuda.step_input import Rows
from pelton.workers.engine.grammars.compiler import GrammarCompiler
from pelton.workers.engine.grammars.spec import GrammarKind, GrammarSpec
from pelton.workers.engine.grammars.vocabulary import of_tokenizer
from pelton.workers.engine.model.loading import LoadedModel, wrap
from pelton.workers.engine.model.supported import kv_shape
from pelton.workers.engine.padded.engine import PaddedConfig, PaddedEngine
from pelton.workers.engine.sampling.sampling import SamplingTensors, broken_rows, sample
from pelton.workers.engine.scheduling.chunk import ScheduledChunk
from pelton.workers.engine.scheduling.page_pool import page_digests
from pelton.workers.engine.scheduling.scheduler import Scheduler
from pelton.workers.engine.scheduling.sequences import SequenceState
from pelton.workers.engine.transfer import upload_into
from tests.unit.workers.engine._support.driving import GREEDY, PROMPTS, Hook, drain, run, script, tokens_of
from tests.unit.workers.engine._support.plain_attention import late_engine, plain_executor
from tests.unit.workers.engine._support.reference import (
    PAGE,
    Answer,
    assert_is_the_answer,
    pristine,
    prompt_of,
    reference,
)
from tests.unit.workers.engine._support.reference import run as run_family


def plain_draw_cut(  # noqa: PLR0913, PLR0917 (the kernel's arguments)
    logits: torch.Tensor,
    rows: torch.Tensor,
    temperatures: torch.Tensor,
    top_ks: torch.Tensor,
    top_ps: torch.Tensor,
    min_ps: torch.Tensor,
    seeds: torch.Tensor,
    positions: torch.Tensor,
) -> torch.Tensor:
    """What the kernel is tested against."""
    most, flags = int(top_ks.max()), {"any_top_k": bool((top_ks > 0).any()), "any_nucleus": True, "any_min_p": True}
    params = SamplingTensors(temperatures, top_ks, top_ps, min_ps, seeds, most, any_sampled=True, **flags)
    return sample(logits[rows].float(), params, positions)


@pytest.fixture(autouse=True)
def quick_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels have tests of their own, and their interpreter is slow."""

    def likeliest(logits: torch.Tensor) -> torch.Tensor:
        return torch.stack((logits.argmax(-1), broken_rows(logits).long()))

    monkeypatch.setattr(executor_module, "likeliest", likeliest)
    monkeypatch.setattr(sampler_module, "draw_cut", plain_draw_cut)


def make_engine(family: str, pages: int = 64, eos: tuple[int, ...] = (), **limits: Any) -> ContinuousEngine:
    loaded = wrap(copy.deepcopy(pristine(family)))
    loaded = LoadedModel(**{name: getattr(loaded, name) for name in loaded.__slots__} | {"eos_token_ids": eos})
    page_gib = kv_shape(loaded.model.config).page_bytes(PAGE, torch.float32) / 2**30
    return late_engine(loaded, page_size=PAGE, kv_memory_gib=(pages + 0.5) * page_gib, **limits)


def assert_nothing_left(engine: ContinuousEngine) -> None:
    assert engine.running == 0
    assert engine._pool.available == engine._pool.num_pages


@pytest.mark.parametrize("family", ["llama", "glm4", "qwen3", "phi3-windowed", "gemma2", "gemma3", "glm4-moe"])
def test_answers_equal_generate(family: str) -> None:
    """A mixed batch with shared prefixes, cut into chunks, says what `generate` says to each prompt alone."""
    engine = make_engine(family, max_batch_tokens=13, max_running=6)
    run_family(engine, family, [(1, 4), (23, 1), (5, 2), (40, 7), (12, 5), (30, 1)])
    assert engine.prefix_stats.hit > 0
    assert_nothing_left(engine)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_answers_equal_generate_under_preemption(family: str) -> None:
    """Requests that lost their pages with a token on its way, and were computed again, say the same."""
    engine = make_engine(family, pages=14, max_batch_tokens=16, max_running=4)
    run_family(engine, family, [(20, 1), (22, 2), (9, 3), (18, 6)], new=12)
    assert engine.preemptions > 0


def until_end(answer: Answer, eos: tuple[int, ...]) -> Answer:
    """What is left of an answer when these tokens end it."""
    ends = [index for index, token in enumerate(answer.tokens) if token in eos]
    stop = ends[0] + 1 if ends else len(answer.tokens)
    return Answer(answer.tokens[:stop], answer.logprobs[:stop], answer.margins[:stop])


events = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 30), st.integers(0, 5), st.integers(1, 10), st.booleans()),
    st.tuples(st.just("step"), st.integers(1, 4)),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.integers(1, 3)),
)


@settings(max_examples=40, deadline=None)
@given(
    family=st.sampled_from(["llama", "gemma2", "qwen2-windowed"]),
    story=st.lists(events, max_size=20),
    pages=st.integers(12, 26),
    max_batch_tokens=st.integers(5, 40),
    eos=st.sets(st.integers(0, 198), max_size=60),
)
def test_answers_equal_generate_whatever_happens(
    family: str, story: list[tuple[Any, ...]], pages: int, max_batch_tokens: int, eos: set[int]
) -> None:
    """Random arrivals, ends, cancels, deadlines, preemptions, chunks and prefix hits change no answer; all pages come
    back, and the prefix cache knows nothing but text that was really said.
    """
    engine = make_engine(family, pages, tuple(eos), max_batch_tokens=max_batch_tokens, max_running=5)
    live_through(engine, family, story, tuple(eos))


def live_through(engine: ContinuousEngine, family: str, story: list[tuple[Any, ...]], eos: tuple[int, ...]) -> None:
    now = 0.0
    engine._clock = lambda: now
    added: list[EngineRequest] = []
    ended: dict[int, Outcome] = {}

    def step() -> None:
        for outcome in engine.step():
            assert outcome.request_id not in ended
            ended[outcome.request_id] = outcome

    for kind, *details in story:
        if kind == "add" and engine.running < 5:
            length, seed, new, hurried = details
            params = SamplingParams(new, temperature=0.0, logprobs=0)
            deadline = now + 2 if hurried else None
            added.append(EngineRequest(len(added), prompt_of(length, seed), params, deadline))
            engine.add(added[-1])
        elif kind == "step":
            for _ in range(details[0]):
                step()
        elif kind == "cancel":
            engine.cancel(details[0])
        elif kind == "wait":
            now += details[0]
    for _ in range(500 if engine.running else 1):
        step()
    assert_right(family, added, ended, eos)
    assert_nothing_left(engine)
    digests = {digest for each in added for digest in every_digest(family, tuple(each.prompt))}
    assert set(engine._pool._page_of) <= digests


def assert_right(family: str, added: list[EngineRequest], ended: dict[int, Outcome], eos: tuple[int, ...]) -> None:
    """Every request has ended once, with what `generate` says or because it was made to."""
    assert set(ended) == set(range(len(added)))
    for index, outcome in ended.items():
        if isinstance(outcome, Completion):
            whole = until_end(reference(family, added[index].prompt, 10), eos)
            cut = added[index].params.max_tokens
            assert_is_the_answer(outcome, Answer(whole.tokens[:cut], whole.logprobs[:cut], whole.margins[:cut]))
        else:
            assert outcome.kind in (FailureKind.CANCELLED, FailureKind.DEADLINE)


def every_digest(family: str, prompt: tuple[int, ...]) -> list[bytes]:
    tokens = torch.tensor([*prompt, *reference(family, prompt, 10).tokens]).numpy()
    return list(page_digests(tokens, PAGE, b""))


def test_what_follows_an_end_is_nobodys(loaded: LoadedModel, on_logits: Callable[[Hook], None]) -> None:
    """The step behind an end token or a stop string is computed and thrown away: no token, no usage, no page of it."""
    on_logits(script(b"one STOP two"))
    engine = late_engine(loaded)
    [outcome] = run(engine, [SamplingParams(20, temperature=0.0, stop=("STOP",))]).values()
    assert isinstance(outcome, Completion)
    assert (bytes(outcome.token_ids), outcome.finish_reason) == (b"one STOP", FinishReason.STOP)
    assert len(engine._launched) == 1
    assert_nothing_left(engine)
    assert engine.step() == []
    assert_nothing_left(engine)


def test_an_answer_that_ends_by_its_length_costs_no_step_more(loaded: LoadedModel) -> None:
    """Its last token is known to be the last when it is launched."""
    engine = late_engine(loaded)
    engine.add(EngineRequest(0, [1, 2, 3], GREEDY))
    rows = []
    while engine.running:
        engine.step()
        rows.append(engine.last_step.rows if engine.last_step else 0)
    assert rows == [1] * 12 + [0]
    assert not engine._launched


def test_a_token_on_its_way_is_not_taken_for_another_request_of_its_id(loaded: LoadedModel) -> None:
    """A request may end and its id be used again before its last token lands."""
    expected = tokens_of(run(late_engine(loaded)))
    engine = late_engine(loaded)
    engine.add(EngineRequest(1, PROMPTS[0], GREEDY))
    for _ in range(3):
        engine.step()
    engine.cancel(1)
    [failure] = engine.step()
    assert isinstance(failure, Failure)
    engine.add(EngineRequest(1, PROMPTS[1], GREEDY))
    assert tokens_of(drain(engine)) == {1: expected[1]}


def test_every_way_of_choosing_is_the_padded_engines(loaded: LoadedModel) -> None:
    """Sampled, penalised and told log-probabilities, beside greedy rows: the same tokens, the same numbers."""
    params = [
        SamplingParams(10, temperature=0.8, top_p=0.9, seed=1, logprobs=0, ignore_eos=True),
        SamplingParams(10, temperature=1.2, top_k=5, presence_penalty=0.9, seed=2, ignore_eos=True),
        SamplingParams(10, temperature=0.0, ignore_eos=True),
        SamplingParams(10, temperature=1.5, min_p=0.1, seed=3, logprobs=2, ignore_eos=True),
    ]
    padded = PaddedEngine(loaded, PaddedConfig(4096, 8, 0.0))
    for index, (prompt, own) in enumerate(zip(PROMPTS, params, strict=True)):
        padded.add(EngineRequest(index, prompt, own))
    expected = {outcome.request_id: outcome for outcome in padded.step()}
    limited: tuple[dict[str, Any], ...] = ({}, {"max_batch_tokens": 3, "max_running": 3})
    for limits in limited:
        got = run(late_engine(loaded, **limits), params)
        assert tokens_of(got) == tokens_of(expected)
        for index in (0, 3):
            mine, theirs = got[index], expected[index]
            assert isinstance(mine, Completion)
            assert isinstance(theirs, Completion)
            assert mine.logprobs is not None
            assert theirs.logprobs is not None
            for got_one, their in zip(mine.logprobs, theirs.logprobs, strict=True):
                assert got_one.logprob == pytest.approx(their.logprob, abs=1e-4)
                assert [token for token, _ in got_one.top] == [token for token, _ in their.top]


def test_a_prompt_that_is_there_already_is_not_written_again(loaded: LoadedModel) -> None:
    """Its last token is computed for its logits alone: others may be reading the page it lies in."""
    engine = late_engine(loaded)
    prompt = list(range(40, 56))
    engine.add(EngineRequest(0, prompt, GREEDY))
    expected = tokens_of(drain(engine))[0]
    pages = sorted(engine._pool._page_of.values())
    before = [tensor[pages].clone() for tensor in engine._store.keys]
    for tensor in engine._store.keys:
        tensor[pages] = tensor[pages].nextafter(torch.tensor(torch.inf))
    engine.add(EngineRequest(1, prompt, SamplingParams(1, temperature=0.0, ignore_eos=True)))
    [outcome] = drain(engine).values()
    assert isinstance(outcome, Completion)
    assert (outcome.cached_tokens, outcome.token_ids) == (15, expected[:1])
    assert all((tensor[pages] > old).all() for tensor, old in zip(engine._store.keys, before, strict=True))


def test_rows_that_need_their_text_do_not_slow_the_others(loaded: LoadedModel) -> None:
    """A penalised request gets a token every other step, while its neighbour gets one in each."""
    engine = late_engine(loaded)
    engine.add(EngineRequest(0, [1, 2, 3], GREEDY))
    engine.add(EngineRequest(1, [4, 5], SamplingParams(12, temperature=0.0, presence_penalty=0.5, ignore_eos=True)))
    ended = {}
    for count in range(40):
        ended |= {outcome.request_id: count for outcome in engine.step()}
    assert ended == {0: 12, 1: 23}


def test_nan_fails_its_request_only_and_leaves_no_page_behind(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step behind it has written more NaN: it is wiped all the same, and the next owner's answer is right."""
    expected = tokens_of(run(late_engine(loaded)))
    engine = late_engine(loaded)
    embed = loaded.model.model.embed_tokens
    forward = type(embed).forward
    with monkeypatch.context() as patch:
        patch.setattr(embed, "forward", lambda ids: forward(embed, ids).masked_fill(ids[..., None] == 105, torch.nan))
        outcomes = run(engine)
    assert [index for index, outcome in outcomes.items() if isinstance(outcome, Failure)] == [3]
    assert tokens_of(outcomes) == {index: expected[index] for index in (0, 1, 2)}
    assert_nothing_left(engine)
    assert tokens_of(run(engine)) == expected
    assert all(tensor[:-1].isfinite().all() for tensor in (*engine._store.keys, *engine._store.values))


def test_a_failing_launch_is_tried_again_behind_what_is_on_its_way(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the request that fails alone too gets the failure; nobody loses or doubles a token."""
    expected = tokens_of(run(late_engine(loaded)))
    engine = late_engine(loaded, max_batch_tokens=9, max_running=4)
    forward = loaded.model.forward

    def fail_on_105(**inputs: Any) -> Any:
        if 105 in inputs["input_ids"]:
            raise RuntimeError("something")
        return forward(**inputs)

    with monkeypatch.context() as patch:
        patch.setattr(loaded.model, "forward", fail_on_105)
        outcomes = run(engine)
    failure = outcomes[3]
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.INTERNAL
    assert tokens_of(outcomes) == {index: expected[index] for index in (0, 1, 2)}
    assert_nothing_left(engine)
    assert tokens_of(run(engine)) == expected


def test_a_table_that_did_not_reach_the_device_is_sent_again(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for an upload may fail: what the host wrote down is not taken for what the device knows."""
    expected = tokens_of(run(late_engine(loaded)))
    engine = late_engine(loaded)
    calls = itertools.count()

    def fails_now_and_then(target: torch.Tensor, values: Any) -> None:
        if next(calls) % 3 == 0:
            raise RuntimeError("no memory to pin")
        upload_into(target, values)

    monkeypatch.setattr(executor_module, "upload_into", fails_now_and_then)
    outcomes = run(engine)
    answered = tokens_of(outcomes)
    assert answered
    assert answered == {index: expected[index] for index in answered}
    assert_nothing_left(engine)


def test_warm_up_rehearses_and_leaves_nothing_behind(loaded: LoadedModel) -> None:
    """The largest steps are computed on no page but the scratch one."""
    engine = late_engine(loaded, max_batch_tokens=40, max_running=4)
    expected = tokens_of(run(late_engine(loaded)))
    engine.warm_up()
    assert_nothing_left(engine)
    assert tokens_of(run(engine)) == expected


def takes_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step's tokens are taken even if the request has ended."""
    monkeypatch.setattr(ContinuousEngine, "_runs", lambda *_: True)


def registers_unknown_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are found as soon as they are on their way, under digests of tokens that have not been seen."""
    begin = Scheduler.begin

    def early(self: Scheduler, work: ScheduledChunk) -> None:
        begin(self, work)
        work.sequence.known, known = work.sequence.length, work.sequence.known
        self.complete(work)
        work.sequence.known = known

    monkeypatch.setattr(Scheduler, "begin", early)


def forgets_that_pages_were_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of a sequence that comes again is taken for what it was."""
    give_back = Scheduler._give_back

    def unnoticed(self: Scheduler, sequence: SequenceState) -> None:
        stays = sequence.stays
        give_back(self, sequence)
        sequence.stays = stays

    monkeypatch.setattr(Scheduler, "_give_back", unnoticed)


def computes_what_it_has_just_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots keep the tokens they were first given."""
    monkeypatch.setattr(Rows, "inputs", lambda self, newest: torch.where(self.tokens < 0, newest[0], self.tokens))


def unharmed(_: pytest.MonkeyPatch) -> None:
    pass


@pytest.mark.parametrize(
    ("mutation", "harmful"),
    [
        (unharmed, False),
        (takes_the_rest, True),
        (registers_unknown_text, True),
        (forgets_that_pages_were_lost, True),
        (computes_what_it_has_just_chosen, True),
    ],
)
def test_broken_lateness_is_noticed(mutation: Any, harmful: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests fail on an engine that forgets one of the rules of a late step."""
    random = Random(7)
    story: list[tuple[Any, ...]] = []
    for _ in range(20):
        new = ("add", random.randint(1, 30), random.randint(0, 5), random.randint(1, 10), False)
        story += [new, ("step", random.randint(1, 4)), ("cancel", random.randint(0, 40))]
    eos = tuple(range(0, 199, 7))
    mutation(monkeypatch)
    with pytest.raises((AssertionError, KeyError, ValueError, IndexError)) if harmful else nullcontext():
        live_through(make_engine("llama", 14, eos, max_batch_tokens=16, max_running=5), "llama", story, eos)


def test_the_executor_is_the_one_of_the_gpu(loaded: LoadedModel) -> None:
    """These tests would prove nothing on another one."""
    engine = ContinuousEngine(loaded, ContinuousConfig(kv_memory_gib=0.01), make_executor=plain_executor)
    assert isinstance(engine._executor, DeviceExecutor)
    assert engine._executor.steps_ahead == 1


def test_nothing_is_guessed_one_step_ahead(loaded: LoadedModel) -> None:
    """A guess would have to be checked before the next step is planned: the setting changes no step here."""
    expected = tokens_of(run(late_engine(loaded)))
    engine = late_engine(loaded, speculation="prompt")
    assert tokens_of(run(engine)) == expected
    assert engine._speculator is None


def test_held_answers_are_the_padded_engines(loaded: LoadedModel) -> None:
    """Rows with a grammar, greedy and sampled, biased and cut, beside free ones: the same tokens."""
    compiler = GrammarCompiler(lambda: of_tokenizer(loaded.tokenizer, 260, loaded.eos_token_ids))
    grammar = compiler.compile(GrammarSpec(GrammarKind.REGEX, "[a-f]{2,6}-[0-9]+x"))
    requests = [
        EngineRequest(0, PROMPTS[0], SamplingParams(24, temperature=0.0), grammar=grammar),
        EngineRequest(1, PROMPTS[1], SamplingParams(24, temperature=1.0, seed=1), grammar=grammar),
        EngineRequest(2, PROMPTS[2], SamplingParams(12, temperature=0.0, ignore_eos=True)),
        EngineRequest(3, PROMPTS[3], SamplingParams(12, temperature=0.0, logit_bias=((65, 9.0),), ignore_eos=True)),
    ]
    padded = PaddedEngine(loaded, PaddedConfig(4096, 8, 0.0))
    for request in requests:
        padded.add(request)
    expected = {outcome.request_id: outcome for outcome in padded.step()}
    for limits in ({}, {"max_batch_tokens": 6, "max_running": 6}, {"kv_memory_gib": 0.00002}):
        engine = late_engine(loaded, **limits)
        for request in requests:
            engine.add(request)
        assert tokens_of(drain(engine)) == tokens_of(expected)
