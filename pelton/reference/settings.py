"""The page of settings: each section as a table, from the models that read them."""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from pelton.pipeline.settings.loading import CONFIG_VARIABLE, Settings
from pelton.pipeline.settings.value_files import SUFFIX
from pelton.reference.markdown import code, document, one_line, table
from pelton.reference.value_types import describe_type

_INTRODUCTION = f"""\
Settings are read from a TOML file, the one that `--config` or the variable `{CONFIG_VARIABLE}` names. A variable
overrides the file. In a variable, lists and tables are written as JSON. A name that is not on this page is refused.

Secrets are best kept in files, as Docker and Kubernetes hand them over: a variable with `{SUFFIX}` appended names the
file that holds the value, for every setting. `PELTON_KAFKA__SASL_PASSWORD{SUFFIX}=/run/secrets/kafka-password` sets
`kafka.sasl_password`. Such files are read at the start; a line's end at the end of a file is no part of the value."""

_HEAD = ("setting", "type", "default", "meaning", "variable")
_Schema = dict[str, Any]


def page() -> str:
    """The page as Markdown."""
    schema = Settings.model_json_schema()
    body = [part for name, model in _sections(Settings) for part in _section(name, model, schema["$defs"])]
    return document("Settings", "the modules of pipeline/settings", _INTRODUCTION, body)


def _sections(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section below `model` with its dotted name, a section before those inside it."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield above + name, kind
            yield from _sections(kind, f"{above}{name}.")


def _section(name: str, model: type[BaseModel], definitions: dict[str, _Schema]) -> Iterator[str]:
    inner = {section for section, _ in _sections(model)}
    meanings = _attribute_docstrings(model)
    settings: dict[str, _Schema] = definitions[model.__name__]["properties"]
    yield f"## `[{name}]`"
    yield inspect.cleandoc(model.__doc__ or "")
    yield table(
        _HEAD,
        (
            [
                code(setting),
                describe_type(schema),
                _default(schema),
                meanings.get(setting, ""),
                _variable(name, setting),
            ]
            for setting, schema in settings.items()
            if setting not in inner
        ),
    )


def _attribute_docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The strings that stand below fields in the source, by field; a running program does not keep them."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    if not isinstance(definition, ast.ClassDef):
        raise TypeError(f"the source of {model.__name__} is not one class")
    meanings = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                meanings[name] = one_line(text)
    return meanings


def _default(schema: _Schema) -> str:
    value = schema.get("default")
    return "unset" if value is None else code(json.dumps(value))


def _variable(section: str, setting: str) -> str:
    delimiter = Settings.model_config.get("env_nested_delimiter") or "__"
    path = delimiter.join([*section.split("."), setting])
    return code(f"{Settings.model_config.get('env_prefix', '')}{path}".upper())
