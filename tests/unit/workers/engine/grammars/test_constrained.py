"""Answers held to a grammar, in the engines that run a model: their form, and all that may happen around it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pelton.workers.engine.api import Completion, EngineRequest, Failure, FailureKind, FinishReason, SamplingParams
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.grammars.compiler import GrammarCompiler
from pelton.workers.engine.grammars.matching import Grammar
from pelton.workers.engine.grammars.spec import GrammarKind, GrammarSpec
from pelton.workers.engine.grammars.vocabulary import of_tokenizer
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.engine.padded.engine import PaddedConfig, PaddedEngine
from tests.unit.workers.engine._support.driving import EOS, Hook, drain

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
ROOM = SamplingParams(max_tokens=60, temperature=0.9, seed=7)
Engine = ContinuousEngine | PaddedEngine


@pytest.fixture(params=["continuous", "padded"])
def engine(request: pytest.FixtureRequest, loaded: LoadedModel) -> Engine:
    if request.param == "padded":
        return PaddedEngine(loaded, PaddedConfig(4096, 16, 0.0))
    return continuous(loaded)


def continuous(loaded: LoadedModel, **limits: Any) -> ContinuousEngine:
    return ContinuousEngine(loaded, ContinuousConfig(**{"kv_memory_gib": 0.001, "page_size": 4, **limits}))


def compiled(loaded: LoadedModel, what: Any, kind: GrammarKind = GrammarKind.JSON_SCHEMA, after: str = "") -> Grammar:
    compiler = GrammarCompiler(lambda: of_tokenizer(loaded.tokenizer, 260, loaded.eos_token_ids))
    return compiler.compile(GrammarSpec(kind, what if isinstance(what, str) else json.dumps(what), after))


def text_of(outcome: Any) -> str:
    assert isinstance(outcome, Completion)
    return bytes(token for token in outcome.token_ids if token < EOS).decode()


def ask(engine: Engine, *requests: EngineRequest) -> list[Any]:
    for request in requests:
        engine.add(request)
    outcomes = drain(engine)  # type: ignore[arg-type]  # all it needs is `running` and `step`
    return [outcomes[request.id] for request in requests]


def test_an_answer_matches_its_schema(engine: Engine, loaded: LoadedModel) -> None:
    """A random model says what the schema allows, whatever it would have said, and stops where it is complete."""
    grammar = compiled(loaded, PERSON)
    for index in range(8):
        params = SamplingParams(max_tokens=110, temperature=0.9, seed=index)
        [outcome] = ask(engine, EngineRequest(index, [5, index + 1], params, grammar=grammar))
        assert outcome.finish_reason is FinishReason.STOP, text_of(outcome)
        Draft202012Validator(PERSON).validate(json.loads(text_of(outcome)))


@pytest.mark.parametrize(
    ("kind", "what", "allowed"),
    [
        (GrammarKind.CHOICE, ["yes", "no", "perhaps"], lambda text: text in ("yes", "no", "perhaps")),
        (GrammarKind.REGEX, r"[A-C]{3}-[0-9]{2}", lambda text: len(text) == 6 and text[3] == "-"),
        (
            GrammarKind.LARK,
            'start: "[[" CELL "]]"\nCELL: /T[1-3]/',
            lambda text: text[:3] == "[[T" and len(text) == 6,
        ),
    ],
)
def test_other_kinds_of_grammar(
    engine: Engine, loaded: LoadedModel, kind: GrammarKind, what: Any, allowed: Callable[[str], bool]
) -> None:
    [outcome] = ask(engine, EngineRequest(0, [5, 6], ROOM, grammar=compiled(loaded, what, kind)))
    assert allowed(text_of(outcome))
    assert outcome.finish_reason is FinishReason.STOP


def test_those_beside_it_are_free(engine: Engine, loaded: LoadedModel) -> None:
    """Rows without a grammar say what they say alone; greedy and sampled ones."""
    free = [
        EngineRequest(1, [9, 8, 7], SamplingParams(20, temperature=0.0)),
        EngineRequest(2, [9, 8, 6], SamplingParams(20, temperature=1.0, seed=3, logprobs=2)),
    ]
    alone = ask(engine, *free)
    held = EngineRequest(0, [5, 6], ROOM, grammar=compiled(loaded, PERSON))
    together = ask(engine, held, *free)[1:]
    assert [each.token_ids for each in together] == [each.token_ids for each in alone]
    assert [each.finish_reason for each in together] == [each.finish_reason for each in alone]


def test_a_cut_answer_finishes_by_its_length(engine: Engine, loaded: LoadedModel) -> None:
    request = EngineRequest(0, [5], SamplingParams(5, temperature=0.0), grammar=compiled(loaded, PERSON))
    [outcome] = ask(engine, request)
    assert outcome.finish_reason is FinishReason.LENGTH
    assert text_of(outcome).startswith("{")


def test_stop_strings_and_logprobs_go_with_a_grammar(engine: Engine, loaded: LoadedModel) -> None:
    """A stop string ends the answer earlier; log-probabilities are the model's own, not those of what was admitted."""
    params = SamplingParams(60, temperature=0.0, stop=('"name"',), logprobs=2)
    [outcome] = ask(engine, EngineRequest(0, [5], params, grammar=compiled(loaded, PERSON)))
    assert outcome.finish_reason is FinishReason.STOP
    assert text_of(outcome).endswith('"name"')
    assert any(each.token_id not in dict(each.top) for each in outcome.logprobs)


def test_the_same_seed_gives_the_same_answer(engine: Engine, loaded: LoadedModel) -> None:
    grammar = compiled(loaded, PERSON)
    first, second = (ask(engine, EngineRequest(0, [5], ROOM, grammar=grammar))[0].token_ids for _ in range(2))
    assert first == second


def test_preempted_and_shared_prefixes(loaded: LoadedModel) -> None:
    """Held answers that gave their pages up, and began with what others had computed, are what they are alone."""
    grammar = compiled(loaded, PERSON)
    prompt = list(range(40, 56))
    requests = [
        EngineRequest(index, [*prompt, index], SamplingParams(40, temperature=0.8, seed=index), grammar=grammar)
        for index in range(6)
    ]
    alone = [ask(continuous(loaded), request)[0].token_ids for request in requests]
    crowded = continuous(loaded, kv_memory_gib=35.5 * 4 * 2 * 2 * 2 * 8 * 4 / 2**30, max_running=6)
    together = ask(crowded, *requests)
    assert crowded.preemptions > 0
    assert crowded.prefix_stats.hit > 0
    assert [outcome.token_ids for outcome in together] == alone


def test_a_grammar_begins_behind_a_text(engine: Engine, loaded: LoadedModel, on_logits: Callable[[Hook], None]) -> None:
    """What comes before the end of a model's reasoning is free, what comes after is held."""
    said = iter(b"hmm</think>")

    def hook(logits: Any) -> Any:
        forced = logits.clone()
        token = next(said, None)
        if token is not None:
            forced[:, token] = 1e4
        return forced

    on_logits(hook)
    grammar = compiled(loaded, ["yes", "no"], GrammarKind.CHOICE, after="</think>")
    [outcome] = ask(engine, EngineRequest(0, [5], SamplingParams(40, temperature=0.0), grammar=grammar))
    assert text_of(outcome) in ("hmm</think>yes", "hmm</think>no")


def test_a_grammar_that_grows_too_complex_fails_alone(engine: Engine, loaded: LoadedModel) -> None:
    """Its request ends with an error that says so; the others go on."""
    bomb = compiled(loaded, {"type": "string", "pattern": "^(([a-z]{5,50}){5,50}){5,50}$"})
    failed, fine = ask(
        engine,
        EngineRequest(0, [5], SamplingParams(100, temperature=1.0, seed=1), grammar=bomb),
        EngineRequest(1, [5], SamplingParams(10, temperature=0.0, ignore_eos=True)),
    )
    assert isinstance(failed, Failure)
    assert failed.kind is FailureKind.INVALID_OUTPUT
    assert "too complex" in failed.message
    assert isinstance(fine, Completion)
