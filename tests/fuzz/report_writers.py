"""Engines as writers of report sections: the simulated one, and a tiny model whose random weights write nonsense."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pelton.producers.reports.planning.plan import Request
from pelton.workers.engine.api import Completion, EngineRequest, FinishReason, SamplingParams, StepEngine
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.grammars.compiler import GrammarCompiler
from pelton.workers.engine.grammars.matching import Grammar
from pelton.workers.engine.grammars.spec import GrammarKind, GrammarSpec
from pelton.workers.engine.grammars.vocabulary import of_bytes, of_tokenizer
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.engine.simulated.config import SimulatedConfig
from pelton.workers.engine.simulated.engine import SimulatedEngine
from pelton.workers.engine.simulated.text import decode_tokens, encode_text

_EOS = 256
_PROMPT_BYTES = 64  # nonsense does not depend on more of a prompt
_CONTEXT = 512
_ANSWER = 64


@dataclass(frozen=True, slots=True)
class Written:
    text: str
    cut_off: bool


class EngineWriter:
    """Has an engine answer requests, as many at once as it takes."""

    def __init__(
        self,
        engine: StepEngine,
        grammars: GrammarCompiler,
        encode: Callable[[str], Sequence[int]],
        decode: Callable[[Sequence[int]], str],
        params: Callable[[int, Request], SamplingParams],
    ) -> None:
        self._engine = engine
        self._grammars = grammars
        self._encode = encode
        self._decode = decode
        self._params = params

    def write(self, requests: Sequence[Request]) -> list[Written]:
        """The texts in the order of their requests. Raises `GrammarError` for one that no worker would take."""
        for index, request in enumerate(requests):
            prompt = self._encode(request.messages[-1]["content"])
            params = self._params(index, request)
            self._engine.add(EngineRequest(index, prompt, params, grammar=self._grammar_of(request)))
        texts: dict[int, Written] = {}
        while self._engine.running:
            for outcome in self._engine.step():
                if not isinstance(outcome, Completion):
                    raise TypeError(f"the engine failed: {outcome}")
                cut_off = outcome.finish_reason is FinishReason.LENGTH
                texts[outcome.request_id] = Written(self._decode(outcome.token_ids), cut_off)
        return [texts[index] for index in range(len(requests))]

    def _grammar_of(self, request: Request) -> Grammar | None:
        asked = request.body.get("structured_outputs")
        return self._grammars.compile(GrammarSpec(GrammarKind.LARK, asked["grammar"])) if asked else None


def simulated() -> EngineWriter:
    """The simulated engine, without its waiting. What it writes is chosen by the prompt."""
    config = SimulatedConfig(ttft_ms=0, itl_ms=0, context_length=100_000, max_batch_tokens=1_000_000)
    engine = SimulatedEngine(config, clock=lambda: 0.0, sleep=lambda _: None)

    def params(_: int, request: Request) -> SamplingParams:
        return SamplingParams(request.body["max_completion_tokens"])

    return EngineWriter(engine, GrammarCompiler(of_bytes), encode_text, decode_tokens, params)


def nonsense(rows: int, seed: int) -> EngineWriter:
    """A model of two layers with random weights on the continuous engine; at a high temperature it says anything."""
    tokenizer = _byte_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=260, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.2, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    ends = (_EOS, _EOS + 1)
    loaded = LoadedModel(model, tokenizer, _CONTEXT, ends, _EOS, torch.float32, torch.device("cpu"), b"")
    engine = ContinuousEngine(loaded, ContinuousConfig(kv_memory_gib=0.1, max_running=rows))

    def encode(text: str) -> list[int]:
        return list(text.encode()[-_PROMPT_BYTES:])

    def decode(tokens: Sequence[int]) -> str:
        return bytes(token for token in tokens if token < _EOS).decode(errors="replace")

    def params(index: int, request: Request) -> SamplingParams:
        return SamplingParams(_ANSWER, temperature=1.5, seed=int(request.fingerprint[:8], 16) + index)

    grammars = GrammarCompiler(lambda: of_tokenizer(tokenizer, config.vocab_size, ends))
    return EngineWriter(engine, grammars, encode, decode, params)


def _byte_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(_EOS)}
    bytes_only = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    bytes_only.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=bytes_only, eos_token="<|end|>")  # noqa: S106  # no password
