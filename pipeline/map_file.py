"""The file of a map (`worker.map`), read and checked at the start, with errors that name the file, field and fix."""

import difflib
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import Field, ValidationError, model_validator

from pelton.pipeline.errors import RequestError
from pelton.pipeline.settings.loading import SettingsError
from pelton.pipeline.settings.section import Section
from pelton.pipeline.settings.worker import SchemaSettings
from pelton.pipeline.templates import TemplateFault, compiled
from pelton.pipeline.wire.bodies import CHAT_BODIES, BodyCodec
from pelton.pipeline.wire.decoding import decode_request
from pelton.pipeline.wire.record_forms.table import OutputSubject, SchemaTable, missing_libraries
from pelton.pipeline.wire.record_map import RecordMap

MAX_TEMPLATE_CHARS = 65_536
_NOT_MAPPED = ("messages", "tools", "tool_choice", "parallel_tool_calls", "functions", "n", "stream", "logprobs")
"""What would make an answer that is not one text."""
_TRIAL_BYTES = 1_048_576

FieldName = Annotated[str, Field(min_length=1, max_length=256)]
Template = Annotated[str, Field(min_length=1, max_length=MAX_TEMPLATE_CHARS)]


class _Prompt(Section):
    user: Template
    system: Template | None = None


class _Output(Section):
    field: FieldName | None = None
    parse: Literal["text", "json"] = "text"
    finish_reason: FieldName | None = None
    subject: FieldName | None = None
    version: Annotated[int, Field(gt=0)] | Literal["latest"] = "latest"

    @model_validator(mode="after")
    def _has_a_place(self) -> Self:
        if self.field is None and self.parse == "text":
            raise ValueError('name a field for the answer, or set parse = "json" to merge an object into the record')
        if self.field is not None and self.field == self.finish_reason:
            raise ValueError("field and finish_reason are the same: name two fields")
        return self


class _MapFile(Section):
    prompt: _Prompt
    request: dict[str, Any] = Field(default={})
    output: _Output


def body_codec(path: Path | None, schemas: SchemaSettings) -> BodyCodec:
    """How the values of records are read: by the map of that file, or as chat bodies. Raises `SettingsError`."""
    return CHAT_BODIES if path is None else load_map(path, schemas)


def load_map(path: Path, schemas: SchemaSettings) -> RecordMap:
    """Raises `SettingsError`, which names every fault."""
    try:
        file = _MapFile.model_validate(_toml(path))
    except ValidationError as error:
        raise _unusable(path, [_told(dict(fault)) for fault in error.errors()]) from None
    prompt, output = file.prompt, file.output
    faults = [*_template_faults(prompt), *_request_faults(file.request), *_schema_faults(output, schemas)]
    if faults:
        raise _unusable(path, faults)
    made = RecordMap(prompt.user, prompt.system, dict(file.request), output.field, output.parse, output.finish_reason)
    if schemas.url is None:
        return made
    subject = None if output.subject is None else OutputSubject(output.subject, str(output.version))
    return replace(made, schemas=SchemaTable(made.added_fields, subject))


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise _unusable(path, [f"it cannot be read: {error.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _unusable(path, [f"it is not TOML: {error}"]) from None


def _template_faults(prompt: _Prompt) -> list[str]:
    faults = []
    for name, template in (("system", prompt.system), ("user", prompt.user)):
        try:
            compiled(template or "")
        except TemplateFault as fault:
            where = f", line {fault.line} of the template" if fault.line else ""
            faults.append(f"prompt.{name}{where}: {fault.message}")
    return faults


def _request_faults(request: dict[str, Any]) -> list[str]:
    if strays := [name for name in _NOT_MAPPED if name in request]:
        return [f"request.{name}: cannot be set in a map, whose answers are one text; leave it out" for name in strays]
    trial = {"model": "default", **request, "messages": [{"role": "user", "content": "-"}]}
    try:
        decode_request(orjson.dumps(trial), max_bytes=_TRIAL_BYTES)
    except RequestError as error:
        return [f"request.{error.param or ''}: {error.message}"]
    except TypeError as error:
        return [f"request: {error}"]
    return []


def _schema_faults(output: _Output, schemas: SchemaSettings) -> list[str]:
    if schemas.url is None:
        return [] if output.subject is None else ["output.subject: needs the setting schemas.url, a schema registry"]
    if missing := missing_libraries():
        return [f"schemas.url needs {', '.join(missing)}, which cannot be found: pip install 'pelton[schemas]'"]
    return []


def _told(fault: dict[str, Any]) -> str:
    name = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        known = (
            "prompt.user",
            "prompt.system",
            "request",
            "output.field",
            "output.parse",
            "output.finish_reason",
            "output.subject",
            "output.version",
        )
        near = difflib.get_close_matches(name, known, 1)
        return f"{name}: unknown; " + (f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}")
    return f"{name}: {str(fault['msg']).removeprefix('Value error, ')}"


def _unusable(path: Path, faults: list[str]) -> SettingsError:
    lines = "\n".join(f"  {fault}" for fault in faults)
    return SettingsError(f"The map {path} cannot be used:\n{lines}")
