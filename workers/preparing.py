"""From a ticket to a job: decode the body, render the chat template, tokenise, and size the request up."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.decoding import decode_request
from pipeline.errors import ContextLengthExceeded, ModelNotFound, RequestError, RequestTooLarge
from pipeline.messages import ChatRequest
from pipeline.settings import WorkerSettings
from workers.codec import Codec
from workers.jobs import Job, Refused, Ticket


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask for. Tokens are prompt plus new; `budget_tokens` is what both line and engine can hold."""

    model_name: str
    context_length: int
    budget_tokens: int
    default_max_new_tokens: int
    max_request_bytes: int

    @classmethod
    def of(cls, settings: WorkerSettings, *, model_name: str, context_length: int, max_request_tokens: int) -> "Limits":
        return cls(
            model_name=model_name,
            context_length=context_length,
            budget_tokens=min(settings.max_waiting_tokens, max_request_tokens),
            default_max_new_tokens=settings.default_max_new_tokens,
            max_request_bytes=settings.max_request_bytes,
        )


def prepare(tickets: Sequence[Ticket], codec: Codec, limits: Limits) -> tuple[list[Job], list[Refused]]:
    """Prepare a polled batch in one call, on a thread: a tokenizer is many times faster on a batch than one by one."""
    requests: list[tuple[Ticket, ChatRequest]] = []
    texts: list[str] = []
    refused: list[Refused] = []
    for ticket in tickets:
        try:
            request = _decode(ticket, limits)
            texts.append(codec.render(request.messages))
            requests.append((ticket, request))
        except RequestError as error:
            refused.append(Refused(ticket, error))
    jobs: list[Job] = []
    for (ticket, request), prompt in zip(requests, codec.encode(texts) if texts else [], strict=True):
        try:
            jobs.append(Job(ticket, request, prompt, allowed_new_tokens(len(prompt), request.new_tokens, limits)))
        except RequestError as error:
            refused.append(Refused(ticket, error))
    return jobs, refused


def allowed_new_tokens(prompt_tokens: int, asked: int | None, limits: Limits) -> int:
    """How many tokens a request may generate.

    What the sender asked for is kept or refused, never cut; where nothing was asked, the default gives way to the
    context and the budget. Raises `ContextLengthExceeded` or `RequestTooLarge`.
    """
    least = asked or 1
    if prompt_tokens + least > limits.context_length:
        raise ContextLengthExceeded(
            f"The prompt has {prompt_tokens:,} tokens and asks for {least:,} more, but the model's context holds "
            f"{limits.context_length:,}: shorten the messages{' or lower max_completion_tokens' if asked else ''}.",
            param="messages",
        )
    if prompt_tokens + least > limits.budget_tokens:
        raise RequestTooLarge(
            f"Prompt and new tokens come to {prompt_tokens + least:,}, more than the {limits.budget_tokens:,} this "
            "worker takes at once: shorten the messages or lower max_completion_tokens, or have the operator raise "
            "worker.max_waiting_tokens and engine.kv_memory_gib (engine.max_batch_tokens for the padded engine).",
            param="messages",
        )
    room = min(limits.context_length, limits.budget_tokens) - prompt_tokens
    return asked or min(limits.default_max_new_tokens, room)


def _decode(ticket: Ticket, limits: Limits) -> ChatRequest:
    if ticket.envelope.fault is not None:
        raise ticket.envelope.fault
    request = decode_request(ticket.record.value, max_bytes=limits.max_request_bytes)
    if request.model not in (limits.model_name, "default"):
        raise ModelNotFound(
            f"Model {request.model!r} is not served here: use {limits.model_name!r} or 'default'.", param="model"
        )
    return request
