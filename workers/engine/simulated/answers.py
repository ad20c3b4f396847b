"""What a simulated engine answers: a function of the prompt, so that nothing has to be computed."""

import hashlib
import math

from pelton.workers.engine.api import EngineRequest, FinishReason
from pelton.workers.engine.grammars.matching import Grammar
from pelton.workers.engine.grammars.random_text import random_text
from pelton.workers.engine.simulated.config import SimulatedConfig
from pelton.workers.engine.simulated.text import decode_tokens, encode_text, signature

_BYTES_PER_TOKEN = 4
_HEAD_TOKENS = 5  # what `signature` takes
_FILLER = encode_text(" jet")[0]


def answer_tokens(request: EngineRequest, config: SimulatedConfig) -> tuple[tuple[int, ...], FinishReason]:
    """The whole answer: the signature of the prompt's text, then ` jet` up to the length drawn for this prompt.

    The length is a function of prompt and `config.seed`, and at least the signature's 5 tokens. `max_tokens` cuts the
    answer; `ignore_eos` stretches it to `max_tokens`. Temperature and stop strings have no effect.
    With a grammar the answer is some text of it, chosen by the prompt.
    """
    head = signature(request.text or decode_tokens(request.prompt))
    if request.grammar is not None:
        return _formed(request.grammar, head, request.params.max_tokens)
    uniform = int.from_bytes(hashlib.sha256(f"{config.seed}:{head}".encode()).digest()[:6]) / 2**48
    spread = config.mean_output_tokens - config.min_output_tokens
    drawn = config.min_output_tokens + round(-spread * math.log1p(-uniform))
    wanted = max(_HEAD_TOKENS, min(drawn, config.max_output_tokens))
    allowed = request.params.max_tokens
    length = allowed if request.params.ignore_eos else min(wanted, allowed)
    tokens = (*encode_text(head), *(_FILLER,) * (length - _HEAD_TOKENS))[:length]
    cut = request.params.ignore_eos or wanted > allowed
    return tokens, FinishReason.LENGTH if cut else FinishReason.STOP


def _formed(grammar: Grammar, head: str, allowed: int) -> tuple[tuple[int, ...], FinishReason]:
    seed = int.from_bytes(hashlib.sha256(head.encode()).digest()[:6])
    text, complete = random_text(grammar, seed, allowed * _BYTES_PER_TOKEN)
    return tuple(encode_text(text.decode(errors="replace"))), FinishReason.STOP if complete else FinishReason.LENGTH
