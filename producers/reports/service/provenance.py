"""From a worker's reply to the text that is kept, and where it came from."""

from collections.abc import Mapping

from pelton.pipeline.wire import contract
from pelton.producers.replies import Reply
from pelton.producers.reports.planning.tidy import tidy
from pelton.producers.reports.service.records import Draft


def draft_of(reply: Reply, attempt: int) -> Draft:
    """Raises `ReplyError` for an error reply, or one that cannot be read."""
    completion = reply.completion()
    choice = completion.choices[0]
    provenance = {
        "model": completion.model,
        "created": completion.created,
        "worker": _text(reply.headers, contract.WORKER),
        "cache": _text(reply.headers, contract.CACHE),
        "attempts": attempt,
        "queue_ms": _number(reply.headers, contract.QUEUE_MS),
        "prefill_ms": _number(reply.headers, contract.PREFILL_MS),
        "decode_ms": _number(reply.headers, contract.DECODE_MS),
        "prompt_tokens": completion.usage.prompt_tokens,
        "completion_tokens": completion.usage.completion_tokens,
        "finish_reason": choice.finish_reason,
    }
    text = tidy(choice.message.content or "", cut_off=choice.finish_reason == "length")
    return Draft(text, provenance)


def _text(headers: Mapping[str, bytes], name: str) -> str:
    return (headers.get(name) or b"").decode(errors="replace")


def _number(headers: Mapping[str, bytes], name: str) -> float | None:
    try:
        return float(headers[name])
    except (KeyError, ValueError):
        return None
