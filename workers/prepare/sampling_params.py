"""From a request's parameters to the engine's."""

from pelton.pipeline.wire.chat import ChatRequest
from pelton.workers.engine.api import SamplingParams

_LEAST_TOP_P = 1e-6
"""For 0, which OpenAI takes: the likeliest token, and those exactly as likely."""


def sampling_params(request: ChatRequest, max_tokens: int) -> SamplingParams:
    """The engine's terms for what the request asked for; OpenAI's defaults where it asked for nothing."""
    return SamplingParams(
        max_tokens=max_tokens,
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p or _LEAST_TOP_P,
        top_k=max(request.top_k or 0, 0),
        min_p=request.min_p or 0.0,
        repetition_penalty=request.repetition_penalty or 1.0,
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        seed=request.seed,
        stop=request.stop_strings,
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        ignore_eos=bool(request.ignore_eos),
        logit_bias=tuple(sorted((int(token), value) for token, value in (request.logit_bias or {}).items())),
        stop_token_ids=tuple(request.stop_token_ids or ()),
        min_tokens=min(request.min_tokens or 0, max_tokens),
        n=request.n or 1,
    )


def is_reproducible(request: ChatRequest) -> bool:
    """Whether the same request gets the same answer again."""
    return request.temperature == 0 or request.seed is not None
