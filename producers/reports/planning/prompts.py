"""Prompt templates: Jinja in a sandbox, and of its language only what fills in a text.

A template comes with the job, from whoever may write to the topic. Allowed are variables, filters of a list, `if` and
`for` to a depth of two; nothing that calls, computes, assigns or includes. So a template can neither reach the process
nor take long, and what the sources say is never read as a template.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pelton.producers.reports.errors import PromptUnusable

MAX_PROMPT_CHARS = 8_000_000
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
_FILTERS = ("default", "first", "join", "last", "length", "lower", "title", "trim", "upper")
_TESTS = ("defined", "undefined", "none", "string", "mapping", "sequence")


def _environment() -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=False
    )
    made.globals.clear()
    made.filters = {name: made.filters[name] for name in _FILTERS}
    made.tests = {name: made.tests[name] for name in _TESTS}
    return made


_ENVIRONMENT = _environment()


def fill(template: str, values: Mapping[str, Any], *, section: str) -> str:
    """The prompt. Raises `PromptUnusable`, naming the section, the line and what is wrong."""
    try:
        pieces: list[str] = []
        size = 0
        for piece in _compiled(template, section).generate(values):
            size += len(piece)
            if size > MAX_PROMPT_CHARS:
                raise PromptUnusable(f"The prompt of section {section!r} is over {MAX_PROMPT_CHARS:,} characters.")
            pieces.append(piece)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        raise PromptUnusable(f"The prompt of section {section!r}{where}: {error.message or error}.") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise PromptUnusable(f"The prompt of section {section!r} cannot be filled in: {error}.") from None
    return "".join(pieces).strip()


@lru_cache(maxsize=512)
def _compiled(template: str, section: str) -> Template:
    tree = _ENVIRONMENT.parse(template)
    _check(tree, section)
    return _ENVIRONMENT.from_string(tree)


def _check(node: nodes.Node, section: str, loops: int = 0) -> None:
    if not isinstance(node, _ALLOWED):
        name = type(node).__name__.lower()
        raise PromptUnusable(
            f"The prompt of section {section!r}, line {node.lineno}: {name} is not allowed in prompt templates; "
            "use variables, if, for, and the filters " + ", ".join(_FILTERS) + "."
        )
    loops += isinstance(node, nodes.For)
    if loops > _MAX_LOOPS:
        raise PromptUnusable(
            f"The prompt of section {section!r}, line {node.lineno}: more than {_MAX_LOOPS} nested loops."
        )
    for child in node.iter_child_nodes():
        _check(child, section, loops)
