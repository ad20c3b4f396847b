"""`pelton config`: what the settings are and where each comes from; whether they can be used."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from pydantic import SecretStr

from pelton.commands.common import Config, clear_errors, say, stderr
from pelton.pipeline.outside_text import escaped
from pelton.pipeline.settings.loading import NAMES, Settings, load_settings, read_toml, settings_file, settings_origin
from pelton.pipeline.settings.names import DELIMITER, setting_variables, variable_of
from pelton.pipeline.settings.value_files import value_files

_MASK = "**********"
_CREDENTIALS = re.compile(r"(?<=://).*@", re.DOTALL)
_QUERY = re.compile(r"\?.*", re.DOTALL)
_WIDTH = 80
"""Columns that lines keep to where their values let them: a line is a setting, in any width."""

app = typer.Typer(
    name="config", help="Show the settings and where each comes from, or check them.", no_args_is_help=True
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it is in effect. Values are fit for JSON and without secrets."""

    name: str
    value: Any
    default: Any
    changed: bool
    """Whether the value differs from the default, secrets included."""
    source: str
    """`default`, `file` or `variable`."""
    origin: str | None
    """The file's path, or the variable's name, with its file where it names one (`..._FILE=/run/secrets/x`)."""


@app.command()
def show(
    changed: Annotated[bool, typer.Option("--changed", metavar="", help="Only what differs from the default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print JSON on stdout.")] = False,
    config: Config = None,
) -> None:
    """Show every setting that is in effect, its value and where it comes from.

    Secrets are masked, and so are user, password and query of a URL.

    Example: pelton config show --changed

    Exit codes: 0 shown; 2 bad arguments or settings.
    """
    with clear_errors():
        found = [setting for setting in _effective(config) if setting.changed or not changed]
    if as_json:
        say(orjson.dumps(found))
        return
    texts = ["unset" if setting.value is None else json.dumps(setting.value, ensure_ascii=False) for setting in found]
    names_width = max((len(setting.name) for setting in found), default=0)
    room = max(0, _WIDTH - names_width - len("    default"))
    values_width = min(max(map(len, texts), default=0), room)
    for setting, text in zip(found, texts, strict=True):
        source = f"{setting.source} {setting.origin}" if setting.origin else setting.source
        say(f"{setting.name:<{names_width}}  {text:<{values_width}}  {source}")


@app.command()
def check(config: Config = None) -> None:
    """Check the file and the variables: every fault is named, with the nearest known name for an unknown one.

    Example: pelton config check --config pelton.toml

    Exit codes: 0 they can be used; 2 they cannot, or bad arguments.
    """
    with clear_errors():
        load_settings(config)
    for variable, meant in NAMES.half_written_variables(os.environ).items():
        stderr.print(f"{escaped(variable)} is not read; did you mean {meant}?", markup=False, soft_wrap=True)
    say(f"The settings ({settings_origin(settings_file(config))}) can be used.")


def _effective(config: Path | None) -> Iterator[Setting]:
    settings = load_settings(config)
    defaults = Settings.model_construct()
    file = settings_file(config)
    stored = read_toml(file) if file else {}
    variables = setting_variables(os.environ)
    named_files = value_files(os.environ, NAMES.leaves)
    for name in NAMES.leaves:
        path = name.split(".")
        value, default = (reduce(getattr, path, root) for root in (settings, defaults))
        source, origin = "default", None
        if held := named_files.get(variable_of(name)):
            source, origin = "variable", "=".join(held)
        elif variable := _variable_that_sets(path, variables):
            source, origin = "variable", variable
        elif file and _has(stored, path):
            source, origin = "file", str(file)
        yield Setting(name, _masked(value), _masked(default), value != default, source, origin)


def _variable_that_sets(path: list[str], variables: Mapping[str, str]) -> str | None:
    """The setting's own variable, one for an entry of it, or one that has its whole section as JSON."""
    own = variable_of(".".join(path))
    entries = [name for name in sorted(variables) if name == own or name.startswith(own + DELIMITER)]
    if entries:
        return entries[0]
    for depth in range(len(path) - 1, 0, -1):
        section = variable_of(".".join(path[:depth]))
        if section in variables and _has(json.loads(variables[section]), path[depth:]):
            return section
    return None


def _has(table: Any, path: list[str]) -> bool:
    for part in path:
        if not isinstance(table, dict) or part not in table:
            return False
        table = table[part]
    return True


def _masked(value: Any) -> Any:
    """The same for JSON, and for anybody's eyes."""
    match value:
        case SecretStr():
            return _MASK
        case Path():
            return str(value)
        case dict():
            return {key: _masked(entry) for key, entry in value.items()}
        case tuple():
            return [_masked(entry) for entry in value]
        case str() if "://" in value:
            return _QUERY.sub("?***", _CREDENTIALS.sub("***@", value))
        case _:
            return value
