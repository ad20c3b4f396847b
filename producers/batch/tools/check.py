"""A batch file looked through before it is sent: every line, every fault, as a worker would find them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pelton.pipeline.errors import RequestError
from pelton.pipeline.wire.all_faults import all_faults
from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.decoding import decode_request
from pelton.producers.batch.file import RequestLine, read_requests

BYTES_PER_TOKEN = 4
"""Of English prose, with the JSON around it: an estimate."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`field` is a path in the line, such as `body.messages[0].content`; empty where no field is at fault."""

    line: int
    custom_id: str | None
    field: str
    code: str
    message: str


@dataclass(slots=True)
class Checked:
    """What was found in a whole file. Tokens are of the sound lines: of prompts by estimate, or `exact`; of answers as
    asked for.

    `open_ended` lines set no limit to their answers: so many answers.
    """

    requests: int = 0
    faulty: int = 0
    faults: int = 0
    bytes: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    open_ended: int = 0
    exact: bool = False


def check(
    path: Path,
    on_fault: Callable[[Fault], None],
    *,
    max_request_bytes: int,
    model: str | None = None,
    count_tokens: Callable[[ChatRequest], int] | None = None,
) -> Checked:
    """Look through a file; with `model`, a line that asks for another one is at fault. Raises `BatchError`.

    `count_tokens` gives the tokens of a prompt, and may raise `RequestError`; without it they are estimated.
    """
    checked = Checked(exact=count_tokens is not None)
    for line in read_requests(path):
        checked.requests += 1
        checked.bytes += len(line.body)
        faults = _faults(line, max_request_bytes, model, checked, count_tokens)
        checked.faulty += bool(faults)
        checked.faults += len(faults)
        for fault in faults:
            on_fault(fault)
    return checked


def _faults(
    line: RequestLine,
    max_bytes: int,
    model: str | None,
    checked: Checked,
    count_tokens: Callable[[ChatRequest], int] | None,
) -> list[Fault]:
    if line.fault is not None:
        return [Fault(line.number, line.custom_id, "", line.fault.code, line.fault.message)]
    try:
        request = decode_request(line.body, max_bytes=max_bytes)
    except RequestError:
        return [_of_body(line, fault) for fault in all_faults(line.body, max_bytes=max_bytes)]
    if model is not None and request.model not in (model, "default"):
        message = f"The line asks for model {request.model!r}, and not for {model!r} or 'default'."
        return [Fault(line.number, line.custom_id, "body.model", "model_not_found", message)]
    try:
        tokens = -(-len(line.body) // BYTES_PER_TOKEN) if count_tokens is None else count_tokens(request)
    except RequestError as fault:
        return [_of_body(line, fault)]
    _count(request, tokens, checked)
    return []


def _of_body(line: RequestLine, fault: RequestError) -> Fault:
    field = f"body.{fault.param}" if fault.param else "body"
    return Fault(line.number, line.custom_id, field, fault.code, fault.message)


def _count(request: ChatRequest, prompt_tokens: int, checked: Checked) -> None:
    checked.prompt_tokens += prompt_tokens
    choices = request.n or 1
    if request.new_tokens is None:
        checked.open_ended += choices
    else:
        checked.answer_tokens += request.new_tokens * choices
