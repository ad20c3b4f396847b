"""A completion as a reply has it: the part of a reply that equal requests share.

Written as plain objects, in the order and form of the models in `pelton.pipeline.wire.chat`, which readers parse it
with: to build those models of what is known to be sound would cost as much as all else that is done for a reply.
"""

import secrets
from typing import Any

import orjson

from pelton.workers.engine import api
from pelton.workers.prepare.codec import Codec
from pelton.workers.prepare.message_parsing import ParsedMessage
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
    usage = {
        "prompt_tokens": len(job.prompt),
        "completion_tokens": generated,
        "total_tokens": len(job.prompt) + generated,
        "prompt_tokens_details": {"cached_tokens": answered.completion.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": sum(answer.reasoning_tokens for answer in parsed)},
    }
    return orjson.dumps({"choices": choices, "usage": usage})


def _choice(index: int, completion: api.Completion, parsed: ParsedMessage, codec: Codec) -> dict[str, Any]:
    # An answer that was cut ends by its length, whatever calls it had by then.
    called = parsed.calls and completion.finish_reason is api.FinishReason.STOP
    return {
        "index": index,
        "message": _message(parsed),
        "logprobs": _logprobs(completion, codec),
        "finish_reason": "tool_calls" if called else completion.finish_reason.value,
    }


def _message(parsed: ParsedMessage) -> dict[str, Any]:
    content = None if parsed.calls and not parsed.content else parsed.content
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if parsed.reasoning is not None:
        message["reasoning_content"] = parsed.reasoning
    if parsed.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{secrets.token_hex(12)}",
                "type": "function",
                "function": {"name": function.name, "arguments": function.arguments},
            }
            for function in parsed.calls
        ]
    return message


def _logprobs(completion: api.Completion, codec: Codec) -> dict[str, Any] | None:
    """As OpenAI has them: no entry for the token that ended the answer, which is none of its text."""
    if completion.logprobs is None:
        return None
    told = completion.logprobs
    if told and completion.finish_reason is api.FinishReason.STOP and not codec.decode([told[-1].token_id]):
        told = told[:-1]
    content = [
        {
            **_top(codec, token.token_id, token.logprob),
            "top_logprobs": [_top(codec, token_id, logprob) for token_id, logprob in token.top],
        }
        for token in told
    ]
    return {"content": content, "refusal": None}


def _top(codec: Codec, token_id: int, logprob: float) -> dict[str, Any]:
    """Bytes of all tokens of an answer, put together, are its text; one that is part of a character has escapes."""
    content = codec.token_bytes(token_id)
    return {"token": content.decode(errors="backslashreplace"), "logprob": logprob, "bytes": list(content)}
