"""Records of any JSON object, made into chat requests by templates; the answer becomes a part of the record."""

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

import orjson

from pelton.pipeline.errors import (
    AnswerCut,
    EmptyRecord,
    InvalidValue,
    NotAnObject,
    RequestTooLarge,
    UnfitAnswer,
)
from pelton.pipeline.templates import TemplateFault, fill
from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.decoding import decode_request, load_json
from pelton.pipeline.wire.records import RequestRecord

_COMPLETE = "stop"


@dataclass(frozen=True, slots=True)
class RecordMap:
    """A `BodyCodec`. `request` has the fields of the chat body besides its messages.

    With a `field` the answer is put there; without one it must be a JSON object, whose fields are merged in. An answer
    that was cut is none, unless `finish_reason` names a field that says so: a record looks finished to its readers.
    """

    user: str
    system: str | None
    request: dict[str, Any]
    field: str | None
    parse: Literal["text", "json"]
    finish_reason: str | None = None
    keeps_key: bool = True

    @property
    def identity(self) -> bytes:
        told = [self.user, self.system, self.request, self.field, self.parse, self.finish_reason]
        return sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).digest()

    def decode(self, record: RequestRecord, *, max_bytes: int) -> ChatRequest:
        """The request of a record. A fault of the template on this record is `InvalidValue`."""
        # The record's own size is bounded before it is read, that of the body made of it by `decode_request`.
        return decode_request(self.body(record, max_bytes=max_bytes), max_bytes=max_bytes)

    def body(self, record: RequestRecord, *, max_bytes: int) -> bytes:
        """The chat body of a record, as JSON. Raises `RequestError`."""
        value = _object(record.value, max_bytes)
        values = {**value, "record": value, "key": _key(record.key)}
        messages = [{"role": "user", "content": _filled("user", self.user, values, max_bytes)}]
        if self.system is not None:
            messages.insert(0, {"role": "system", "content": _filled("system", self.system, values, max_bytes)})
        return orjson.dumps({"model": "default", **self.request, "messages": messages})

    def reply(self, record: RequestRecord, completion: bytes) -> bytes:
        """The record with the answer in it; everything else is byte by byte as it was, unless the answer replaces it.

        Raises `AnswerCut`, and `UnfitAnswer` for an answer that is not JSON where that is wanted.
        """
        added = self._added(completion)
        value = record.value or b""
        if _object(value, len(value)).keys().isdisjoint(added):
            head = value.strip(b" \t\r\n")[:-1].rstrip(b" \t\r\n")
            comma = b"" if head.endswith(b"{") or not added else b","
            return head + comma + orjson.dumps(added)[1:]
        replaced = {**json.loads(value), **added}  # its integers have no limit, unlike orjson's
        return json.dumps(replaced, ensure_ascii=False, separators=(",", ":")).encode()

    def _added(self, completion: bytes) -> dict[str, Any]:
        choice = orjson.loads(completion)["choices"][0]
        reason, answer = choice["finish_reason"], choice["message"].get("content") or ""
        if self.finish_reason is not None:
            return {**self._parsed(answer), self.finish_reason: reason}
        if reason != _COMPLETE:
            raise AnswerCut(
                f"The answer was cut (finish_reason {reason!r}): raise request.max_tokens of the map, or have "
                "output.finish_reason name a field that marks such records."
            )
        return self._parsed(answer)

    def _parsed(self, answer: str) -> dict[str, Any]:
        if self.parse == "text":
            return {str(self.field): answer}
        try:
            parsed = orjson.loads(answer)
        except orjson.JSONDecodeError as error:
            raise UnfitAnswer(
                f"The answer is not JSON ({error}), as output.parse of the map wants it: ask for "
                "request.response_format, or give request.max_tokens more room."
            ) from None
        if self.field is not None:
            return {self.field: parsed}
        if not isinstance(parsed, dict):
            raise UnfitAnswer(
                "The answer is no JSON object, so it cannot be merged into the record: set output.field of the map, "
                "or ask for an object by request.response_format."
            )
        return parsed


def _object(value: bytes | None, max_bytes: int) -> dict[str, Any]:
    if value is None:
        raise EmptyRecord("The record has no value (a tombstone): send a JSON object.")
    if len(value) > max_bytes:
        raise RequestTooLarge(
            f"The record has {len(value):,} bytes, more than the {max_bytes:,} this worker reads: send less, or have "
            "the operator raise worker.max_request_bytes."
        )
    read = load_json(value, "record")
    if not isinstance(read, dict):
        raise NotAnObject("The record must be a JSON object: the answer becomes one of its fields.")
    return read


def _key(key: bytes | None) -> str | None:
    return None if key is None else key.decode(errors="replace")


def _filled(name: str, template: str, values: dict[str, Any], most: int) -> str:
    try:
        return fill(template, values, most_chars=most)
    except TemplateFault as fault:
        where = f", line {fault.line}" if fault.line else ""
        raise InvalidValue(
            f"The record does not fit prompt.{name} of the map{where}: {fault.message}. Give the record what is "
            "missing, or have the map test for it with `is defined` or the filter default.",
            param=f"prompt.{name}",
        ) from None
