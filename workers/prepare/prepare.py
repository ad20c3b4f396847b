"""From a delivery to a draft (decode the body, render the chat template), and from that to a job (tokenise, size up).

Between the two the cache is asked: a request whose answer is found is never tokenised.
"""

from collections.abc import Sequence

from pelton.pipeline.errors import ModelNotFound
from pelton.pipeline.wire.chat import ChatRequest
from pelton.workers.containment import each, together
from pelton.workers.prepare.cache_keys import CacheKeyBuilder
from pelton.workers.prepare.codec import Codec
from pelton.workers.prepare.limits import RequestLimits, allowed_new_tokens
from pelton.workers.prepare.truncation import fitted
from pelton.workers.requests import Delivery, Failed, PreparedRequest, RenderedRequest


def make_drafts(
    deliveries: Sequence[Delivery], codec: Codec, limits: RequestLimits, key_builder: CacheKeyBuilder
) -> tuple[list[RenderedRequest], list[Failed]]:
    """Decode and render a polled batch in one call, on a thread."""

    def draft(delivery: Delivery) -> RenderedRequest:
        request = decode(delivery, limits)
        made = fitted(request, codec.render(request.messages, request), codec, limits, delivery.envelope.truncation)
        keys = key_builder.keys(delivery, made.request, made.text)
        return RenderedRequest(delivery, made.request, made.text, keys, prompt=made.prompt, truncation=made.truncation)

    return each("prepare", deliveries, draft, lambda delivery: delivery)


def make_jobs(
    drafts: Sequence[RenderedRequest], codec: Codec, limits: RequestLimits
) -> tuple[list[PreparedRequest], list[Failed]]:
    """Tokenise a batch and compile its grammars, on a thread: a tokenizer is many times faster on a batch."""

    def prompts(some: Sequence[RenderedRequest]) -> list[tuple[RenderedRequest, Sequence[int]]]:
        texts = list(dict.fromkeys(draft.text for draft in some if draft.prompt is None))
        made = dict(zip(texts, codec.encode(texts) if texts else [], strict=True))
        return [(draft, made[draft.text] if draft.prompt is None else draft.prompt) for draft in some]

    def job(tokenised: tuple[RenderedRequest, Sequence[int]]) -> PreparedRequest:
        draft, prompt = tokenised
        allowed = allowed_new_tokens(len(prompt), draft.request.new_tokens, limits)
        text = draft.text
        if draft.shortened_to is not None:
            allowed = min(allowed, draft.shortened_to)
            text = codec.shortened(text, allowed)
        form = codec.form(draft.request, draft.text)
        return PreparedRequest(
            draft.delivery, draft.request, prompt, allowed, keys=draft.keys, form=form, text=text,
            shortened_to=draft.shortened_to, truncation=draft.truncation,
        )  # fmt: skip

    tokenised, failed = together("tokenise", drafts, prompts, lambda draft: draft.delivery)
    jobs, refused = each("size up", tokenised, job, lambda pair: pair[0].delivery)
    return jobs, [*failed, *refused]


def decode(delivery: Delivery, limits: RequestLimits) -> ChatRequest:
    """The body of a request whose headers are sound. Raises `RequestError`."""
    if delivery.envelope.fault is not None:
        raise delivery.envelope.fault
    request = limits.bodies.decode(delivery.record, max_bytes=limits.max_request_bytes)
    # What a router has sent here is meant for this model, and names the experiment.
    if delivery.envelope.routed is None and request.model not in (limits.model_name, "default"):
        raise ModelNotFound(
            f"Model {request.model!r} is not served here: use {limits.model_name!r} or 'default'.", param="model"
        )
    return request
