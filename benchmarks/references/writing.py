"""Has a model on the continuous engine answer under grammars, greedily, as a worker would."""

from collections.abc import Callable, Sequence

from pelton.pipeline.paths import cache_dir
from pelton.workers.engine.api import Completion, EngineRequest, SamplingParams
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.grammars.compiler import GrammarCompiler
from pelton.workers.engine.grammars.spec import GrammarKind, GrammarSpec
from pelton.workers.engine.grammars.vocabulary import of_tokenizer
from pelton.workers.engine.model.loading import LoadedModel, ModelSpec, load

_MOST_TOKENS = 160
_ROWS = 8


def loaded_model(name: str) -> LoadedModel:
    return load(ModelSpec(name, dtype="auto", device="cpu"), cache_dir() / "models")


def write(
    loaded: LoadedModel,
    prompts: Sequence[list[dict[str, str]]],
    grammar: Callable[[int], str],
    most_tokens: int = _MOST_TOKENS,
) -> list[str]:
    """The answers in the order of the prompts. `grammar` gives the Lark grammar of the prompt at a place."""
    vocabulary = loaded.model.config.vocab_size
    compiler = GrammarCompiler(lambda: of_tokenizer(loaded.tokenizer, vocabulary, loaded.eos_token_ids))
    engine = ContinuousEngine(loaded, ContinuousConfig(max_running=_ROWS, kv_memory_gib=1.0))
    texts: dict[int, str] = {}
    upcoming = 0
    while len(texts) < len(prompts):
        while upcoming < len(prompts) and engine.running < _ROWS:
            compiled = compiler.compile(GrammarSpec(GrammarKind.LARK, grammar(upcoming)))
            params = SamplingParams(most_tokens, temperature=0.0)
            engine.add(EngineRequest(upcoming, _tokens(loaded, prompts[upcoming]), params, grammar=compiled))
            upcoming += 1
        for outcome in engine.step():
            if not isinstance(outcome, Completion):
                raise TypeError(f"answer {outcome.request_id} failed: {outcome}")
            texts[outcome.request_id] = loaded.tokenizer.decode(outcome.token_ids, skip_special_tokens=True)
    return [texts[place] for place in range(len(prompts))]


def _tokens(loaded: LoadedModel, messages: list[dict[str, str]]) -> list[int]:
    text = loaded.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    tokens: list[int] = loaded.tokenizer.encode(text, add_special_tokens=False)
    return tokens
