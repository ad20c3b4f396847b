"""A model's tokens as llguidance knows them, and a language of single bytes for the simulated engine."""

import copy
from collections.abc import Iterable
from typing import Any

from llguidance import LLTokenizer, TokenizerWrapper

from pelton.workers.engine.grammars.spec import GrammarError

BYTES_END = 256


def of_tokenizer(tokenizer: Any, vocabulary: int, eos_token_ids: Iterable[int]) -> LLTokenizer:
    """For a transformers tokenizer, and a model of `vocabulary` logits.

    Takes some tenths of a second. Raises GrammarError for a tokenizer of an unknown kind.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise GrammarError("the model's tokenizer is of a kind that cannot be held to a grammar")
    backend = copy.copy(backend)
    backend.no_padding()
    backend.no_truncation()
    known = backend.get_vocab_size(with_added_tokens=True)
    ends = [token for token in eos_token_ids if token < known]
    try:
        return LLTokenizer(backend.to_str(), n_vocab=max(vocabulary, known), eos_token=ends or None)
    except ValueError as error:
        raise GrammarError(f"the model's tokenizer cannot be held to a grammar: {error}") from error


class _Bytes:
    """Token ids are bytes; one more ends a text."""

    eos_token_id = BYTES_END
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(256)), b"<end>")
    special_token_ids = (BYTES_END,)

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


def of_bytes() -> LLTokenizer:
    return LLTokenizer(TokenizerWrapper(_Bytes()))
