"""OpenAI Batch files: what goes in, what comes out, one JSON object a line.

Only the envelope of a line is judged here. What stands in its `body` is for the worker to accept or refuse, so that
there is one authority. Lines are numbered from 1, as editors do; files are streamed, whatever their size.
"""

import codecs
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import orjson

from pelton.pipeline.error_codes import status_of
from pelton.pipeline.wire import contract
from pelton.producers.batch.text_form import HEAD_BYTES, text_form
from pelton.producers.errors import BatchError, ReplyError
from pelton.producers.replies import INVALID_REPLY, Reply

METHOD = "POST"
URL = "/v1/chat/completions"
MAX_LINE_BYTES = 32 * 1024 * 1024
"""Far beyond any record Kafka takes: a file that is no JSON Lines at all must not be read into memory."""

OK_STATUS = 200


@dataclass(frozen=True, slots=True)
class InputSummary:
    """What a whole input file amounts to. `lines` counts blank ones too, `requests` does not."""

    sha256: str
    size: int
    lines: int
    requests: int


@dataclass(frozen=True, slots=True)
class LineFault:
    """Why a line is not sent; goes into its output line as `error`."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One line of the input: the JSON of its `body`, or the `fault` for which it cannot be sent."""

    number: int
    custom_id: str | None
    body: bytes
    fault: LineFault | None = None


def survey(path: Path) -> InputSummary:
    """Read the whole file. Raises `BatchError` when it cannot be read."""
    with _opened(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.seek(0, os.SEEK_CUR)
        file.seek(0)
        lines = requests = 0
        for raw in _lines(file):
            lines += 1
            requests += not raw.isspace()
    return InputSummary(digest, size, lines, requests)


def read_requests(path: Path) -> Iterator[RequestLine]:
    """Every line that is not blank, in order. Of lines with the same `custom_id` the first counts.

    Raises `BatchError` when the file cannot be read. Remembers 16 bytes of each `custom_id`.
    """
    seen: set[bytes] = set()
    with _opened(path) as file:
        for number, raw in enumerate(_lines(file), start=1):
            if not raw.isspace():
                yield _unless_repeated(_parse(number, raw.removeprefix(codecs.BOM_UTF8)), seen)


def requests_after(path: Path, number: int = 0, offset: int = 0) -> Iterator[tuple[RequestLine, int]]:
    """The lines behind line `number`, which ends at `offset`, each with the offset at which it ends.

    For a file that `read_requests` has been through: no `custom_id` is compared. Raises `BatchError`.
    """
    with _opened(path) as file:
        file.seek(offset)
        for at, raw in enumerate(_lines(file), start=number + 1):
            if not raw.isspace():
                yield _parse(at, raw.removeprefix(codecs.BOM_UTF8)), file.tell()


def custom_ids(path: Path, wanted: Callable[[int], bool]) -> dict[int, str | None]:
    """Those of the lines whose number is `wanted`, by number; the others are not parsed. Raises `BatchError`."""
    with _opened(path) as file:
        numbered = enumerate(_lines(file), start=1)
        chosen = ((number, raw) for number, raw in numbered if wanted(number))
        return {number: _parse(number, raw.removeprefix(codecs.BOM_UTF8)).custom_id for number, raw in chosen}


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines as they stand, each with its end. Raises `BatchError`."""
    with _opened(path) as file:
        yield from _lines(file)


def _opened(path: Path) -> BufferedReader:
    """Raises `BatchError` for what cannot be read, and for what is not UTF-8 as a whole."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise BatchError(f"The input {path} cannot be read: {error.strerror}.") from None
    fault = _unreadable(file)
    if fault is not None:
        file.close()
        raise BatchError(f"The input {path} {fault}.")
    return file


def _unreadable(file: BufferedReader) -> str | None:
    if not file.seekable():
        return "can be read only once: save it as a file first"
    form = text_form(file.peek(HEAD_BYTES)[:HEAD_BYTES])
    return None if form is None else f"is {form}, where a file of UTF-8 lines is needed"


def _lines(file: BufferedReader) -> Iterator[bytes]:
    """Each line with its end; of one beyond the limit only the beginning, without an end."""
    while raw := file.readline(MAX_LINE_BYTES):
        yield raw
        while len(raw) == MAX_LINE_BYTES and not raw.endswith(b"\n"):
            raw = file.readline(MAX_LINE_BYTES)


def _parse(number: int, raw: bytes) -> RequestLine:
    if len(raw) >= MAX_LINE_BYTES:
        return _refused(number, None, "invalid_json_line", f"longer than {MAX_LINE_BYTES:,} bytes")
    try:
        line = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        reason = f"not JSON, {error.msg} at column {error.colno}"
        return _refused(number, _salvaged_id(raw), "invalid_json_line", reason)
    if not isinstance(line, dict):
        return _refused(number, None, "invalid_json_line", "not a JSON object")
    custom_id = line.get("custom_id")
    if custom_id is None:
        return _refused(number, None, "missing_custom_id", "custom_id is missing, give each request one of its own")
    if not isinstance(custom_id, str):
        return _refused(number, None, "invalid_custom_id", "custom_id is not a string")
    return _parse_request(number, custom_id, line)


def _salvaged_id(raw: bytes) -> str | None:
    """The `custom_id` of a line that is almost JSON: with half a surrogate pair, NaN, or bytes that are no UTF-8."""
    try:
        line = json.loads(raw.decode("utf-8", "surrogateescape"))
        custom_id: str = line["custom_id"]
        custom_id.encode()  # raises for half a pair in the id itself
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return custom_id


def _parse_request(number: int, custom_id: str, line: dict[str, Any]) -> RequestLine:
    if line.get("method") != METHOD:
        return _refused(number, custom_id, "invalid_method", f"method must be {METHOD!r}")
    if line.get("url") != URL:
        return _refused(number, custom_id, "invalid_url", f"url must be {URL!r}")
    body = line.get("body")
    if not isinstance(body, dict):
        return _refused(number, custom_id, "invalid_body", "body must be a JSON object")
    try:
        return RequestLine(number, custom_id, orjson.dumps(body))
    except orjson.JSONEncodeError as error:
        return _refused(number, custom_id, "invalid_body", f"body cannot be written as JSON again: {error}")


def _refused(number: int, custom_id: str | None, code: str, reason: str) -> RequestLine:
    return RequestLine(number, custom_id, b"", LineFault(code, f"Line {number} was not sent: {reason}."))


def _unless_repeated(line: RequestLine, seen: set[bytes]) -> RequestLine:
    if line.custom_id is None:
        return line
    digest = id_digest(line.custom_id)
    if digest in seen:
        return _refused(line.number, line.custom_id, "duplicate_custom_id", "its custom_id was used before")
    seen.add(digest)
    return line


def answered_line(result_id: str, custom_id: str | None, reply: Reply) -> tuple[bytes, bool]:
    """The output line of a reply, and whether it is an answer."""
    outcome, answered = reply_outcome(reply)
    return output_line(result_id, custom_id, outcome), answered


def refused_line(result_id: str, custom_id: str | None, fault: LineFault) -> bytes:
    """The output line of a request that was never carried out."""
    return output_line(result_id, custom_id, refusal_outcome(fault))


def reply_outcome(reply: Reply) -> tuple[bytes, bool]:
    """What an output line says of a reply, and whether it is an answer: `response` has status and body.

    A reply that is no JSON of ours has no body to show, and becomes an `error`.
    """
    try:
        error = reply.error
        response = {
            "status_code": OK_STATUS if error is None else status_of(error.code),
            "request_id": reply.headers.get(contract.SOURCE, reply.correlation_id).decode("utf-8", "replace"),
            "body": reply.body(),
        }
        return orjson.dumps({"response": response, "error": None}), error is None
    except (ReplyError, orjson.JSONEncodeError) as invalid:
        return refusal_outcome(LineFault(INVALID_REPLY, str(invalid))), False


def refusal_outcome(fault: LineFault) -> bytes:
    """What an output line says of a request that was never carried out: `response` is null, `error` has the reason."""
    return orjson.dumps({"response": None, "error": {"code": fault.code, "message": fault.message}})


def output_line(result_id: str, custom_id: str | None, outcome: bytes) -> bytes:
    """The line of the output for an outcome of the request with that `custom_id`, with its end."""
    return orjson.dumps({"id": result_id, "custom_id": custom_id})[:-1] + b"," + outcome[1:] + b"\n"


def is_answer(output_line: dict[str, Any]) -> bool:
    """Whether a parsed output line is an answer, and not an error of either kind."""
    response = output_line.get("response")
    return output_line.get("error") is None and isinstance(response, dict) and response.get("status_code") == OK_STATUS


def error_code(output_line: dict[str, Any]) -> str:
    """The code of the error in a parsed output line that is no answer: of the line, or of the reply in it."""
    body = (output_line.get("response") or {}).get("body")
    detail = output_line.get("error") or (body.get("error") if isinstance(body, dict) else None)
    code = detail.get("code") if isinstance(detail, dict) else None
    return code if isinstance(code, str) else "unknown"


def id_digest(custom_id: object) -> bytes:
    """Sixteen bytes for each line are kept, however long the ids are."""
    return hashlib.blake2b(orjson.dumps(custom_id), digest_size=16).digest()
