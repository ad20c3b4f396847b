"""Compiled grammars: what they admit and forbid, what is left out and said so, and what nobody can make them cost."""

import contextlib
import json
import random
import threading
import time
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pelton.workers.engine.grammars import compiler as compiling
from pelton.workers.engine.grammars.compiler import GrammarCompiler
from pelton.workers.engine.grammars.matching import Grammar
from pelton.workers.engine.grammars.random_text import random_text
from pelton.workers.engine.grammars.spec import GrammarError, GrammarKind, GrammarSpec, Strictness
from pelton.workers.engine.grammars.vocabulary import BYTES_END, of_bytes
from tests.unit.workers.engine._support.schemas import CASES

COMPILER = GrammarCompiler(of_bytes)
ANSWERS = 12
MAX_BYTES = 1_500


def compiled(schema: Any) -> Grammar:
    return COMPILER.compile(GrammarSpec(GrammarKind.JSON_SCHEMA, json.dumps(schema)))


def admits(grammar: Grammar, text: str) -> bool:
    """Whether an answer can be just this text."""
    state = grammar.start()
    tokens = list(text.encode())
    return state.matcher.validate_tokens([*tokens, BYTES_END]) == len(tokens) + 1


def test_there_are_sixty_schemas() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("name", CASES)
def test_documents_are_admitted_and_forbidden(name: str) -> None:
    """In strict mode nothing that the schema forbids is an answer, however it is spaced."""
    schema, allowed, forbidden = CASES[name]
    grammar = compiled(schema)
    for document in allowed:
        Draft202012Validator(schema).validate(document)
        assert admits(grammar, json.dumps(document, ensure_ascii=False)), document
        assert admits(grammar, json.dumps(document, ensure_ascii=False, separators=(",", ":"))), document
    if grammar.strictness is Strictness.STRICT:
        for document in forbidden:
            assert not admits(grammar, json.dumps(document)), document
            assert not admits(grammar, json.dumps(document, separators=(",", ":"))), document


def test_nearly_all_of_them_are_held_strictly() -> None:
    assert sum(compiled(schema).strictness is Strictness.STRICT for schema, *_ in CASES.values()) >= 0.95 * len(CASES)


def test_answers_that_were_not_cut_validate() -> None:
    """Of answers drawn from every grammar, all but one in a hundred match the schema."""
    whole = valid = 0
    for schema, *_ in CASES.values():
        validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
        grammar = compiled(schema)
        for seed in range(ANSWERS):
            text, complete = random_text(grammar, seed, MAX_BYTES)
            if complete:
                whole += 1
                valid += validator.is_valid(json.loads(text))
    assert whole > 0.9 * ANSWERS * len(CASES)
    assert valid >= 0.99 * whole


# --- what cannot be held


@pytest.mark.parametrize(
    ("schema", "strictness"),
    [
        ({"oneOf": [{"type": "integer", "minimum": 3}, {"type": "number", "maximum": 9}]}, Strictness.COERCED),
        ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, Strictness.LENIENT),
        ({"not": {"type": "string"}}, Strictness.LENIENT),
        ({"type": "array", "items": {"oneOf": [{"type": "number"}, {"type": "integer"}]}}, Strictness.COERCED),
        ({"type": "string", "x-guidance": {"lenient": True, "coerce_one_of": True}}, Strictness.STRICT),
    ],
)
def test_how_exactly_a_schema_is_held(schema: Any, strictness: Strictness) -> None:
    """Only as loosely as it must be; a schema's own options change nothing."""
    assert compiled(schema).strictness is strictness


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        (GrammarKind.JSON_SCHEMA, '{"type": "strin"}', "strin"),
        (GrammarKind.JSON_SCHEMA, '{"type": "string", "pattern": "("}', "regex"),
        (GrammarKind.JSON_SCHEMA, '{"$ref": "https://example.com/schema"}', "https://example.com/schema"),
        (GrammarKind.JSON_SCHEMA, '{"$ref": "#"}', "admits no text"),
        (GrammarKind.JSON_SCHEMA, '{"minimum": "many", "type": "integer"}', "minimum"),
        (GrammarKind.JSON_SCHEMA, "no JSON", ""),
        (GrammarKind.REGEX, "(", "regex"),
        (GrammarKind.LARK, "start: nobody", "nobody"),
        (GrammarKind.LARK, "", ""),
    ],
)
def test_what_is_no_grammar_says_why(kind: GrammarKind, text: str, words: str) -> None:
    with pytest.raises(GrammarError) as caught:
        COMPILER.compile(GrammarSpec(kind, text))
    assert words in str(caught.value)
    assert len(str(caught.value)) < 500


# --- what it costs


def nested(depth: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(depth):
        schema = {"anyOf": [{"type": "object", "properties": {name: schema}} for name in "ab"]}
    return schema


def doubling(depth: int) -> Any:
    refs = [{"$ref": f"#/$defs/l{level}"} for level in range(depth)]
    levels = {f"l{level + 1}": {"anyOf": [ref, {"type": "array", "items": ref}]} for level, ref in enumerate(refs)}
    return {"$defs": {"l0": {"type": "string"}, **levels}, **refs[-1]}


def one_text(name: str) -> Any:
    return {"properties": {name: {"type": "string"}}}


HOSTILE = {
    "recursive": {"type": "object", "properties": {"child": {"$ref": "#"}}},
    "to itself by another": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "a megabyte of words": {"type": "object", "description": "x" * 1_000_000},
    "a megabyte of properties": {"properties": {f"property{i}": {"type": "string"} for i in range(25_000)}},
    "more than a megabyte": {"enum": ["x" * 1_100_000]},
    "branches of branches": nested(13),
    "doubling references": doubling(30),
    "doubling conditions": {
        "type": "object",
        "allOf": [{"anyOf": [one_text(f"{name}{i}") for name in "pq"]} for i in range(20)],
    },
    "nested repetitions": {"type": "string", "pattern": "^(([a-z]{1,50}){1,50}){1,50}$"},
    "backtracking": {"type": "string", "pattern": "^(a+)+$"},
    "remembered places": {"type": "string", "pattern": "(.*a){30}.*b.{15}"},
    "patterns at once": {"allOf": [{"type": "string", "pattern": f"(a|b)*a(a|b){{{i}}}"} for i in range(8, 16)]},
    "ten thousand values": {"enum": [f"value-{i}-{i * 7919 % 10007}" for i in range(10_000)]},
    "long text": {"type": "string", "minLength": 100_000, "maxLength": 1_000_000},
    "many items": {"type": "array", "items": {"type": "integer"}, "minItems": 100_000},
    "deep": json.loads('{"type":"array","items":' * 400 + "{}" + "}" * 400),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_schemas_cost_bounded_time(name: str) -> None:
    """An error that says so, or answers of which no step takes long."""
    started = time.process_time()
    with contextlib.suppress(GrammarError):
        grammar = compiled(HOSTILE[name])
        dice, state, worst = random.Random(1), grammar.start(), 0.0
        for _ in range(60):
            before = time.process_time()
            mask = state.matcher.compute_bitmask()
            worst = max(worst, time.process_time() - before)
            choices = [token for token in range(256) if mask[token // 8] >> token % 8 & 1]
            if state.error is not None or not choices:
                break
            state.advance(dice.choice(choices))
        assert worst < 0.1
    assert time.process_time() - started < 10


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number and by the size of texts; what was refused is remembered too, and the newest stays."""
    monkeypatch.setattr(compiling, "MAX_CACHED", 4)
    monkeypatch.setattr(compiling, "MAX_CACHED_CHARS", 1_000)
    compiler = GrammarCompiler(of_bytes)
    for index in range(10):
        compiler.compile(GrammarSpec(GrammarKind.CHOICE, json.dumps([f"a{index}"])))
    assert compiler.cached == 4
    compiler.compile(GrammarSpec(GrammarKind.CHOICE, json.dumps(["b" * 990])))
    assert compiler.cached < 4
    for _ in range(2):
        with pytest.raises(GrammarError):
            compiler.compile(GrammarSpec(GrammarKind.REGEX, "("))
    assert compiler.cached <= 4


def test_many_threads_compile_at_once() -> None:
    """The vocabulary is read once, and everybody gets a grammar that works."""
    made = []
    compiler = GrammarCompiler(lambda: made.append(1) or of_bytes())  # type: ignore[func-returns-value]
    texts: list[tuple[bytes, bool]] = []

    def work(index: int) -> None:
        grammar = compiler.compile(GrammarSpec(GrammarKind.CHOICE, json.dumps([f"answer {index % 3}"])))
        texts.append(random_text(grammar, index, 100))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert sorted(texts) == sorted((f"answer {index % 3}".encode(), True) for index in range(12))
