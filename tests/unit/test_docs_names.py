"""What the documents name can be used: metrics, variables, commands with their options, targets of make, modules."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import ValidationError
from typer.main import get_command

from pelton.cli import app
from pelton.pipeline.paths import CACHE_VARIABLE
from pelton.pipeline.settings.loading import CONFIG_VARIABLE, Settings
from pelton.pipeline.settings.names import SettingNames, variable_of
from pelton.pipeline.settings.value_files import SUFFIX
from pelton.reference.metrics import served_series

ROOT = Path(__file__).parents[2]
WRITTEN_BY_CODE = {"settings.md", "metrics.md", "errors.md", "commands.md"}
PAGES = [
    page
    for page in (*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md")))
    if page.name != "CHANGELOG.md" and page.name not in WRITTEN_BY_CODE  # it also names what is gone
]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

SERIES = re.compile(r"(?<![\w/.-])pelton_[a-z0-9_]*[a-z0-9](?![\w/])")
VARIABLE = re.compile(r"PELTON_[A-Z0-9_]*[A-Z0-9](?![\w<])")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"`([^`\n]+)`")
NO_METRICS = {"pelton_degraded"}
"""Names that begin as metrics do: the member of a reply."""


def unknown_series(text: str) -> list[str]:
    """Names of metrics that nothing serves."""
    return sorted(set(SERIES.findall(text)) - served_series() - NO_METRICS)


def unknown_variables(text: str) -> list[str]:
    """Variables that nothing reads."""
    names = SettingNames(Settings).leaves
    known = {CONFIG_VARIABLE, CACHE_VARIABLE, *map(variable_of, names), *(variable_of(name) + SUFFIX for name in names)}
    return sorted(set(VARIABLE.findall(text)) - known)


def shell_commands(text: str) -> Iterator[list[str]]:
    """The words of each `pelton ...`, in examples and in the text."""
    examples = [code for language, code in FENCE.findall(text) if language in {"sh", "console"}]
    lines = [line for code in examples for line in code.replace("\\\n", " ").splitlines()]
    for line in (*lines, *INLINE_CODE.findall(FENCE.sub("", text))):
        for part in re.split(r"&&|\||;", line.partition(" #")[0]):
            words = re.sub(r"^\s*(\$ )?(\w+=\S* )*", "", part)
            if words.startswith("pelton "):
                yield shlex.split(words)[1:]


@cache
def command_at(path: tuple[str, ...]) -> Any:
    """The command of that name; None where there is none."""
    if not path:
        return get_command(app)
    group = command_at(path[:-1])
    return group.get_command(None, path[-1]) if hasattr(group, "get_command") else None


def fault_of(words: list[str]) -> str | None:
    """What no such command or option there is."""
    path: tuple[str, ...] = ()
    while hasattr(command_at(path), "list_commands") and len(path) < len(words) and words[len(path)].isalpha():
        path = (*path, words[len(path)])
        if command_at(path) is None:
            return f"pelton {' '.join(path)}"
    command = command_at(path)
    known = {
        option for each in command.get_params(typer.Context(command)) for option in (*each.opts, *each.secondary_opts)
    }
    unknown = [
        word for word in words[len(path) :] if word.startswith("-") and word != "-" and word.split("=")[0] not in known
    ]
    return f"pelton {' '.join(path)} {unknown[0]}" if unknown else None


def faulty_settings(text: str) -> Iterator[str]:
    """What would be refused in examples of settings files, which are parts of such, and name files of the reader's."""
    for language, code in FENCE.findall(text):
        if language == "toml" and set(tables := tomllib.loads(code)) <= set(Settings.model_fields):
            try:
                Settings.model_validate(tables)
            except ValidationError as error:
                found = [each for each in error.errors() if each["type"] not in {"missing", "path_not_file"}]
                yield from (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found)


def missing_targets(text: str) -> set[str]:
    """Targets of make in code that the Makefile does not have."""
    codes = "\n".join(
        [*INLINE_CODE.findall(text), *(code for language, code in FENCE.findall(text) if language == "sh")]
    )
    known = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    return set(re.findall(r"^make ([a-z][\w-]*)", codes, re.MULTILINE)) - known


def missing_modules(text: str) -> set[str]:
    """Modules in `python -m ...` that are not in the tree."""
    named = set(re.findall(r"python -m ((?:pelton|benchmarks|tests)[\w.]*)", text))
    return {
        name
        for name in named
        if not any((ROOT / name.replace(".", "/")).with_suffix(end).exists() for end in (".py", ""))
    }


@each_page
def test_metrics_exist(page: Path) -> None:
    """Each is served by a worker, by `pelton backlog --serve` or by the router, under that very name."""
    assert unknown_series(page.read_text()) == []


@each_page
def test_variables_are_read(page: Path) -> None:
    """Each sets a setting, or is one of the two that say where files are."""
    assert unknown_variables(page.read_text()) == []


@each_page
def test_commands_can_be_given(page: Path) -> None:
    """Each command exists and has the options that it is given."""
    assert [fault for words in shell_commands(page.read_text()) if (fault := fault_of(words))] == []


@each_page
def test_settings_files_are_taken(page: Path) -> None:
    """Names and values of examples in TOML."""
    assert list(faulty_settings(page.read_text())) == []


@each_page
def test_what_is_run_from_a_checkout_exists(page: Path) -> None:
    """Targets of make, and modules that are run."""
    text = page.read_text()
    assert missing_targets(text) | missing_modules(text) == set()


def test_each_code_of_a_dead_letter_has_its_remedy() -> None:
    """Whoever looks at a letter finds what to do before a replay."""
    page = (ROOT / "docs" / "guides" / "dead-letters.md").read_text()
    rows = re.findall(
        r"^\| `(\w+)` \| \d+ \| yes", (ROOT / "docs" / "operations" / "errors.md").read_text(), re.MULTILINE
    )
    said = set(re.findall(r"`(\w+)`", page.partition("| --- | --- |")[2].partition("\n\n")[0]))
    assert set(rows) <= said
    assert len(rows) > 10


def test_the_checks_can_fail() -> None:
    """Misspelt names are found out, right ones are not."""
    text = """`pelton_backlog_request` `pelton_cache_failures` `PELTON_KAFKA__GROUPID` `pelton dlt lst` `make dmo`
```sh
X=1 pelton top --onse | jq .
PELTON_LOG__LEVEL=debug pelton worker --replicas 2 && python -m benchmarks.nowhere
```
```toml
[kafka]
partitions = 0
```
"""
    assert unknown_series(text) == ["pelton_backlog_request", "pelton_cache_failures"]
    assert unknown_variables(text) == ["PELTON_KAFKA__GROUPID"]
    faults = [fault_of(words) for words in shell_commands(text)]
    assert faults == ["pelton top --onse", None, "pelton dlt lst"]
    assert missing_targets(text) | missing_modules(text) == {"dmo", "benchmarks.nowhere"}
    assert list(faulty_settings(text)) == ["kafka.partitions: Input should be greater than 0"]
