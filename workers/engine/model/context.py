"""How long prompt and answer may be together: by the model, its tokenizer, and the operator."""

import logging
from typing import Any

from pelton.workers.engine.errors import ModelLoadError

log = logging.getLogger(__name__)

# Tokenizers that know no limit state one like 10**30.
_ABSURD_LENGTH = 10**9


def served_context(model: Any, tokenizer: Any = None, wanted: int | None = None) -> int:
    """`wanted` tokens, at most what the model's positions reach; unset, the lower of the model's and its tokenizer's.

    Raises ModelLoadError where neither states any, or `wanted` is more than the model can.
    """
    by_model = _stated(model.config.get_text_config(), "max_position_embeddings")
    by_tokenizer = _stated(tokenizer, "model_max_length")
    if wanted is not None:
        if by_model is not None and wanted > by_model:
            raise ModelLoadError(
                f"model.context_length: {wanted:,} tokens are more than the {by_model:,} that the model has positions "
                "for (max_position_embeddings); set at most that"
            )
        return wanted
    if by_model is not None and by_tokenizer is not None and by_tokenizer < by_model:
        log.warning(
            "The tokenizer's model_max_length of %d tokens bounds the context, where the model could have %d: set "
            "model.context_length to serve more.",
            *(by_tokenizer, by_model),
        )
    limits = [limit for limit in (by_model, by_tokenizer) if limit is not None]
    if not limits:
        raise ModelLoadError(
            "model.context_length: the model does not say how long its context may be; set it, or add "
            "max_position_embeddings to its config.json"
        )
    return min(limits)


def _stated(source: Any, name: str) -> int | None:
    stated = getattr(source, name, None)
    return int(stated) if stated is not None and 0 < stated < _ABSURD_LENGTH else None
