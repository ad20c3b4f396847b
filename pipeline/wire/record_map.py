"""Records that are no chat bodies, made into chat requests by templates; the answer becomes a part of the record."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

import orjson

from pelton.pipeline.errors import (
    AnswerCut,
    EmptyRecord,
    InvalidValue,
    RequestTooLarge,
    UnfitAnswer,
)
from pelton.pipeline.templates import TemplateFault, fill
from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.decoding import decode_request
from pelton.pipeline.wire.record_forms.table import SchemaTable, form_of
from pelton.pipeline.wire.records import RequestRecord

_COMPLETE = "stop"


@dataclass(frozen=True, slots=True)
class RecordMap:
    """A `BodyCodec`. `request` has the fields of the chat body besides its messages.

    With a `field` the answer is put there; without one it must be a JSON object, whose fields are merged in. An answer
    that was cut is none, unless `finish_reason` names a field that says so: a record looks finished to its readers.
    Records that name a schema are read and written by `schemas`.
    """

    user: str
    system: str | None
    request: dict[str, Any]
    field: str | None
    parse: Literal["text", "json"]
    finish_reason: str | None = None
    schemas: SchemaTable | None = None
    keeps_key: bool = True

    @property
    def identity(self) -> bytes:
        output = None if self.schemas is None else self.schemas.output
        parts = [self.user, self.system, self.request, self.field, self.parse, self.finish_reason, output]
        return sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).digest()

    @property
    def added_fields(self) -> list[str]:
        """The fields of the answer that are known before there is one."""
        return [name for name in (self.field, self.finish_reason) if name is not None]

    def decode(self, record: RequestRecord, *, max_bytes: int) -> ChatRequest:
        """The request of a record. A fault of the template on this record is `InvalidValue`."""
        # The record's own size is bounded before it is read, that of the body made of it by `decode_request`.
        return decode_request(self.body(record, max_bytes=max_bytes), max_bytes=max_bytes)

    def body(self, record: RequestRecord, *, max_bytes: int) -> bytes:
        """The chat body of a record, as JSON. Raises `RequestError`."""
        value = _bounded(record.value, max_bytes)
        form = form_of(value, self.schemas)
        fields = form.values(value)
        values = {**fields, "record": fields, "key": _key(record.key)}
        messages = [{"role": "user", "content": _filled("user", self.user, values, max_bytes)}]
        if self.system is not None:
            messages.insert(0, {"role": "system", "content": _filled("system", self.system, values, max_bytes)})
        # Before anything is generated: an answer without a place is of no use to anybody.
        form.check(value, self.added_fields)
        return orjson.dumps({"model": "default", **self.request, "messages": messages})

    def reply(self, record: RequestRecord, completion: bytes) -> bytes:
        """The record with the answer in it; everything else is byte by byte as it was, unless the answer replaces it.

        Raises `AnswerCut`, and `UnfitAnswer` for an answer that is not JSON, or not what the schema wants.
        """
        value = record.value or b""
        return form_of(value, self.schemas).merged(value, self._added(completion))

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


def _bounded(value: bytes | None, max_bytes: int) -> bytes:
    if value is None:
        raise EmptyRecord("The record has no value (a tombstone): send a JSON object.")
    if len(value) > max_bytes:
        raise RequestTooLarge(
            f"The record has {len(value):,} bytes, more than the {max_bytes:,} this worker reads: send less, or have "
            "the operator raise worker.max_request_bytes."
        )
    return value


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
