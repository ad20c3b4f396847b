"""From a request's parameters to the engine's."""

from pelton.pipeline.wire.chat import ChatRequest
from pelton.workers.engine.api import SamplingParams


def sampling_params(request: ChatRequest, max_tokens: int) -> SamplingParams:
    """The engine's terms for what the request asked for; OpenAI's defaults where it asked for nothing."""
    return SamplingParams(
        max_tokens=max_tokens,
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        seed=request.seed,
        stop=request.stop_strings,
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
    )


def is_reproducible(params: SamplingParams) -> bool:
    """Whether the same request gets the same answer again."""
    return params.temperature == 0 or params.seed is not None
