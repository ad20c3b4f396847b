"""The body of a completion: the part of a reply that equal requests share."""

import secrets

import orjson

from pelton.pipeline.wire.chat import (
    Answer,
    Choice,
    ChoiceLogprobs,
    CompletionTokensDetails,
    PromptTokensDetails,
    ReplyMessage,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from pelton.pipeline.wire.tools import ToolCall
from pelton.workers.engine import api
from pelton.workers.prepare.message_parsing import ParsedMessage
from pelton.workers.prepare.tokenizer import Codec
from pelton.workers.requests import Generated

ANSWER_FORMAT = 3
"""To be raised when the body of the same completion changes: what was cached before is not found any more."""


def answer_body(answered: Generated, codec: Codec) -> bytes:
    """The JSON object of `choices` and `usage`. Decodes tokens, so it is called from a thread."""
    if answered.completion.written is not None:
        return answered.completion.written.body
    job, generated = answered.job, answered.completion.generated_tokens
    completions = answered.completion.all
    parsed = [codec.parse(each.token_ids, job.request, job.prompt) for each in completions]
    choices = [
        _choice(index, each, answer.message, codec)
        for index, (each, answer) in enumerate(zip(completions, parsed, strict=True))
    ]
    usage = Usage(
        prompt_tokens=len(job.prompt),
        completion_tokens=generated,
        total_tokens=len(job.prompt) + generated,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=answered.completion.cached_tokens),
        completion_tokens_details=CompletionTokensDetails(
            reasoning_tokens=sum(answer.reasoning_tokens for answer in parsed)
        ),
    )
    return orjson.dumps(Answer(choices=choices, usage=usage).model_dump())


def _choice(index: int, completion: api.Completion, parsed: ParsedMessage, codec: Codec) -> Choice:
    calls = [ToolCall(id=f"call_{secrets.token_hex(12)}", function=function) for function in parsed.calls]
    # An answer that was cut ends by its length, whatever calls it had by then.
    called = calls and completion.finish_reason is api.FinishReason.STOP
    return Choice(
        index=index,
        message=ReplyMessage(
            content=None if calls and not parsed.content else parsed.content,
            reasoning_content=parsed.reasoning,
            tool_calls=calls or None,
        ),
        logprobs=_logprobs(completion, codec),
        finish_reason="tool_calls" if called else completion.finish_reason.value,
    )


def _logprobs(completion: api.Completion, codec: Codec) -> ChoiceLogprobs | None:
    """As OpenAI has them: no entry for the token that ended the answer, which is none of its text."""
    if completion.logprobs is None:
        return None
    told = completion.logprobs
    if told and completion.finish_reason is api.FinishReason.STOP and not codec.decode([told[-1].token_id]):
        told = told[:-1]
    return ChoiceLogprobs(
        content=[
            TokenLogprob(
                **_top(codec, token.token_id, token.logprob).model_dump(),
                top_logprobs=[_top(codec, token_id, logprob) for token_id, logprob in token.top],
            )
            for token in told
        ]
    )


def _top(codec: Codec, token_id: int, logprob: float) -> TopLogprob:
    """Bytes of all tokens of an answer, put together, are its text; one that is part of a character has escapes."""
    content = codec.token_bytes(token_id)
    return TopLogprob(token=content.decode(errors="backslashreplace"), logprob=logprob, bytes=list(content))
