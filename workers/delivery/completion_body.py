"""What is told of a completion: the part of a reply that equal requests share."""

from collections.abc import Sequence

import orjson

from pelton.pipeline.wire.chat import (
    Answer,
    Choice,
    ChoiceLogprobs,
    PromptTokensDetails,
    ReplyMessage,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from pelton.workers.engine import api
from pelton.workers.prepare.tokenizer import Codec
from pelton.workers.requests import Generated, PreparedRequest

ANSWER_FORMAT = 1
"""To be raised when the same completion is told in other words: what was cached before is not found any more."""


def answer_body(answered: Generated, codec: Codec) -> bytes:
    """The JSON object of `choices` and `usage`. Decodes tokens, so it is called from a thread."""
    job, generated = answered.job, answered.completion.generated_tokens
    choices = [_choice(index, each, job, codec) for index, each in enumerate(answered.completion.all)]
    usage = Usage(
        prompt_tokens=len(job.prompt),
        completion_tokens=generated,
        total_tokens=len(job.prompt) + generated,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=answered.completion.cached_tokens),
    )
    return orjson.dumps(Answer(choices=choices, usage=usage).model_dump())


def _choice(index: int, completion: api.Completion, job: PreparedRequest, codec: Codec) -> Choice:
    text = cut_at_stop(codec.decode(completion.token_ids), job.request.stop_strings)
    return Choice(
        index=index,
        message=ReplyMessage(content=text),
        logprobs=_logprobs(completion, codec),
        finish_reason=completion.finish_reason.value,
    )


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """The text before the first stop string: a token may carry it and more."""
    ends = [at for string in stop if (at := text.find(string)) >= 0]
    return text[: min(ends)] if ends else text


def _logprobs(completion: api.Completion, codec: Codec) -> ChoiceLogprobs | None:
    if completion.logprobs is None:
        return None
    return ChoiceLogprobs(
        content=[
            TokenLogprob(
                **_top(codec, token.token_id, token.logprob).model_dump(),
                top_logprobs=[_top(codec, token_id, logprob) for token_id, logprob in token.top],
            )
            for token in completion.logprobs
        ]
    )


def _top(codec: Codec, token_id: int, logprob: float) -> TopLogprob:
    text = codec.decode([token_id])
    whole = "\ufffd" not in text  # a token that is part of a character has no text of its own
    return TopLogprob(token=text, logprob=logprob, bytes=list(text.encode()) if whole else None)
