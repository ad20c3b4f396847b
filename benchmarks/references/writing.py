"""Has a model on the continuous engine answer under grammars, greedily, as a worker would."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pelton.pipeline.paths import cache_dir
from pelton.workers.engine.api import Completion, EngineRequest, SamplingParams
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.grammars.compiler import GrammarCompiler
from pelton.workers.engine.grammars.spec import GrammarKind, GrammarSpec
from pelton.workers.engine.grammars.vocabulary import of_tokenizer
from pelton.workers.engine.model.loading import LoadedModel, load
from pelton.workers.engine.model.spec import ModelSpec

_ROWS = 16
_CONTEXTS = 8  # at once


@dataclass(frozen=True, slots=True)
class Prompt:
    """`context`: prompts of one context begin alike. `grammar`: in Lark."""

    context: str
    messages: list[dict[str, str]]
    grammar: str
    most_tokens: int


def loaded_model(name: str) -> LoadedModel:
    return load(ModelSpec(name, dtype="auto", device="cpu"), cache_dir() / "models")


def write(loaded: LoadedModel, prompts: Sequence[Prompt], limit_s: float) -> dict[int, str]:
    """The answers by the places of their prompts. When `limit_s` have passed nothing more is begun."""
    vocabulary = loaded.model.config.vocab_size
    compiler = GrammarCompiler(lambda: of_tokenizer(loaded.tokenizer, vocabulary, loaded.eos_token_ids))
    engine = ContinuousEngine(loaded, ContinuousConfig(max_running=_ROWS, kv_memory_gib=1.0))
    texts: dict[int, str] = {}
    began = time.perf_counter()
    for wave in _waves(prompts):
        if time.perf_counter() - began > limit_s:
            break
        for place in wave:
            prompt = prompts[place]
            grammar = compiler.compile(GrammarSpec(GrammarKind.LARK, prompt.grammar))
            params = SamplingParams(prompt.most_tokens, temperature=0.0)
            engine.add(EngineRequest(place, _tokens(loaded, prompt.messages), params, grammar=grammar))
        while engine.running:
            for outcome in engine.step():
                if not isinstance(outcome, Completion):
                    raise TypeError(f"answer {outcome.request_id} failed: {outcome}")
                texts[outcome.request_id] = loaded.tokenizer.decode(outcome.token_ids, skip_special_tokens=True)
    return texts


def _waves(prompts: Sequence[Prompt]) -> Iterator[list[int]]:
    """The first prompts of some contexts together, then their others, which find the beginning computed."""
    places: dict[str, list[int]] = {}
    for place, prompt in enumerate(prompts):
        places.setdefault(prompt.context, []).append(place)
    contexts = list(places.values())
    for start in range(0, len(contexts), _CONTEXTS):
        some = contexts[start : start + _CONTEXTS]
        yield [one[0] for one in some]
        rest = [place for one in some for place in one[1:]]
        yield from (rest[at : at + _ROWS] for at in range(0, len(rest), _ROWS))


def _tokens(loaded: LoadedModel, messages: list[dict[str, str]]) -> list[int]:
    text = loaded.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    tokens: list[int] = loaded.tokenizer.encode(text, add_special_tokens=False)
    return tokens
