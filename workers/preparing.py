"""From a ticket to a draft (decode the body, render the chat template), and from that to a job (tokenise, size up).

Between the two the cache is asked: a request whose answer is found is never tokenised.
"""

from collections.abc import Sequence

from pipeline.decoding import decode_request
from pipeline.errors import ModelNotFound, RequestError
from pipeline.messages import ChatRequest
from workers.codec import Codec
from workers.jobs import Draft, Job, Refused, Ticket
from workers.keyring import Keyring
from workers.limits import Limits, allowed_new_tokens


def make_drafts(
    tickets: Sequence[Ticket], codec: Codec, limits: Limits, keyring: Keyring
) -> tuple[list[Draft], list[Refused]]:
    """Decode and render a polled batch in one call, on a thread."""
    drafts: list[Draft] = []
    refused: list[Refused] = []
    for ticket in tickets:
        try:
            request = decode(ticket, limits)
            text = codec.render(request.messages)
            drafts.append(Draft(ticket, request, text, keyring.keys(ticket, request, text)))
        except RequestError as error:
            refused.append(Refused(ticket, error))
    return drafts, refused


def make_jobs(drafts: Sequence[Draft], codec: Codec, limits: Limits) -> tuple[list[Job], list[Refused]]:
    """Tokenise a batch, on a thread: a tokenizer is many times faster on a batch than one by one."""
    texts = list(dict.fromkeys(draft.text for draft in drafts if draft.prompt is None))
    prompts = dict(zip(texts, codec.encode(texts) if texts else [], strict=True))
    jobs: list[Job] = []
    refused: list[Refused] = []
    for draft in drafts:
        prompt = prompts[draft.text] if draft.prompt is None else draft.prompt
        try:
            allowed = allowed_new_tokens(len(prompt), draft.request.new_tokens, limits)
            jobs.append(Job(draft.ticket, draft.request, prompt, allowed, keys=draft.keys))
        except RequestError as error:
            refused.append(Refused(draft.ticket, error))
    return jobs, refused


def decode(ticket: Ticket, limits: Limits) -> ChatRequest:
    """The body of a request whose headers are sound. Raises `RequestError`."""
    if ticket.envelope.fault is not None:
        raise ticket.envelope.fault
    request = decode_request(ticket.record.value, max_bytes=limits.max_request_bytes)
    if request.model not in (limits.model_name, "default"):
        raise ModelNotFound(
            f"Model {request.model!r} is not served here: use {limits.model_name!r} or 'default'.", param="model"
        )
    return request
