"""Prompt templates: Jinja in a sandbox, and of its language only what fills in a text.

Allowed are variables, filters of a list, `if` and `for` to a depth of two; nothing that calls, computes, assigns or
includes. Loops are counted and timed, and the text is bounded: what the values hold may come from anybody.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import orjson
from jinja2 import StrictUndefined, Template, TemplateError, TemplateRuntimeError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_PROMPT_CHARS = 8_000_000
MAX_ROUNDS = 1_000_000
"""Of all loops of one filling together."""
MAX_SECONDS = 5.0
"""Of the thread's own computing time, looked at in each round: one round is linear in the values."""
_MAX_LOOPS = 2

_ALLOWED: tuple[type[nodes.Node], ...] = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Const,
    nodes.If,
    nodes.For,
    nodes.Filter,
    nodes.Test,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.CondExpr,
)
_FILTERS = ("default", "first", "join", "last", "length", "lower", "title", "tojson", "trim", "upper")
_TESTS = ("defined", "undefined", "none", "string", "mapping", "sequence")
_COUNTED = "counted"


class TemplateFault(Exception):
    """A template that is not allowed, or values it cannot be filled in with. `line` is None where it is not known."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class _Rounds:
    """What all loops of one filling may take."""

    def __init__(self) -> None:
        self._left = MAX_ROUNDS
        self._until = time.thread_time() + MAX_SECONDS

    def over(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            self._left -= 1
            if self._left < 0:
                raise TemplateRuntimeError(f"its loops take more than {MAX_ROUNDS:,} rounds")
            if time.thread_time() > self._until:
                raise TemplateRuntimeError(f"its loops take longer than {MAX_SECONDS:g} s")
            yield value


def _environment() -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=False
    )
    made.globals.clear()
    made.filters = {name: made.filters[name] for name in _FILTERS if name in made.filters}
    # Jinja's own writes JSON for HTML, with escapes in place of < and &.
    made.filters["tojson"] = lambda value: orjson.dumps(value).decode()
    made.filters[_COUNTED] = lambda values, rounds: rounds.over(values)
    made.tests = {name: made.tests[name] for name in _TESTS}
    return made


_ENVIRONMENT = _environment()


def fill(template: str, values: Mapping[str, Any], *, most_chars: int = MAX_PROMPT_CHARS) -> str:
    """The text, without white space at its ends. Raises `TemplateFault`."""
    made = compiled(template)
    pieces: list[str] = []
    size = 0
    try:
        for piece in made.generate({**values, _COUNTED: _Rounds()}):
            size += len(piece)
            if size > most_chars:
                raise TemplateFault(f"it is over {most_chars:,} characters")
            pieces.append(piece)
    except TemplateError as error:
        raise TemplateFault(str(error.message or error), getattr(error, "lineno", None)) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise TemplateFault(f"it cannot be filled in: {error}") from None
    return "".join(pieces).strip()


@lru_cache(maxsize=512)
def compiled(template: str) -> Template:
    """Raises `TemplateFault` for what is no template, or uses what is not allowed in one."""
    try:
        tree = _ENVIRONMENT.parse(template)
        _check(tree)
        for loop in tree.find_all(nodes.For):
            counter: list[nodes.Expr] = [nodes.Name(_COUNTED, "load", lineno=loop.lineno)]
            loop.iter = nodes.Filter(loop.iter, _COUNTED, counter, [], None, None, lineno=loop.lineno)
        return _ENVIRONMENT.from_string(tree)
    except TemplateError as error:
        raise TemplateFault(str(error.message or error), getattr(error, "lineno", None)) from None
    except RecursionError:
        raise TemplateFault("it is nested too deeply") from None


def _check(node: nodes.Node, loops: int = 0) -> None:
    allowed = isinstance(node, _ALLOWED)
    if not allowed or (isinstance(node, nodes.Name | nodes.Filter) and node.name == _COUNTED):
        name = type(node).__name__.lower() if not allowed else _COUNTED
        raise TemplateFault(
            f"{name} is not allowed in prompt templates; use variables, if, for, and the filters "
            + ", ".join(_FILTERS),
            node.lineno,
        )
    loops += isinstance(node, nodes.For)
    if loops > _MAX_LOOPS:
        raise TemplateFault(f"more than {_MAX_LOOPS} nested loops", node.lineno)
    for child in node.iter_child_nodes():
        _check(child, loops)
