"""YAML and JSON as texts with the line that every value stands on, so that a fault can be shown where it is.

Aliases are refused: a file of a few lines can stand for gigabytes with them.
"""

from dataclasses import dataclass
from typing import Any

import yaml

from pelton.producers.reports.errors import JobInvalid

MAX_FILE_BYTES = 1_000_000
_MAX_DEPTH = 40
_NULL = "tag:yaml.org,2002:null"
_HINTS = {"mapping values are not allowed here": "put a text that holds `: ` into quotes"}

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class LinedDocument:
    """A parsed file: its value, and the line (from 1) of each value by its path of keys and indexes."""

    name: str
    value: Any
    lines: dict[Path, int]

    def line_of(self, path: Path) -> int:
        """The line of a value, or of what it would stand in where it is missing."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)


class _Loader(yaml.SafeLoader):
    """Values are the texts that stand there, or nothing: what is a number, or true, is for the fields to say.

    YAML's own guesses would make `off` false, `2019-12-31` a date and `010` eight.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012  # the library's own attribute, never changed
        first: [(tag, pattern) for tag, pattern in resolvers if tag == _NULL]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(None, None, "aliases (*name) are not allowed", self.peek_event().start_mark)
        return super().compose_node(parent, index)


def read_lined(text: str, name: str) -> LinedDocument:
    """Parse YAML, of which JSON is a part. Raises `JobInvalid` with the line of a fault."""
    if len(text) > MAX_FILE_BYTES:
        raise JobInvalid(f"{name}: more than {MAX_FILE_BYTES:,} characters; put long texts into source files.")
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Path, int] = {}
        if node is None:
            raise JobInvalid(f"{name}: the file is empty.")
        _note_lines(node, (), lines, name)
        return LinedDocument(name, loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = error.problem or error.context
        hint = _HINTS.get(problem or "")
        raise JobInvalid(f"{name}, line {line}: {problem}{f': {hint}' if hint else ''}.") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise JobInvalid(f"{name}: not YAML or JSON: {error}.") from None
    finally:
        loader.dispose()


def _note_lines(node: yaml.Node, path: Path, lines: dict[Path, int], name: str) -> None:
    if len(path) > _MAX_DEPTH:
        raise JobInvalid(f"{name}, line {node.start_mark.line + 1}: nested too deeply.")
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if (*path, str(key.value)) in lines:
                raise JobInvalid(f"{name}, line {key.start_mark.line + 1}: {key.value} is there twice.")
            _note_lines(value, (*path, str(key.value)), lines, name)
            lines[(*path, str(key.value))] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, (*path, index), lines, name)
