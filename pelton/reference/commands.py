"""The page of commands: what `--help` says, of every command and subcommand."""

import typer
from typer.cli import get_docs_for_click
from typer.main import get_command

from pelton.cli import app
from pelton.reference.markdown import document

_INTRODUCTION = "Every command with its arguments, options and exit codes, as `--help` shows them."


def page() -> str:
    """The page as Markdown."""
    command = get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="pelton", title="The pelton command")
    return document("Commands", "the commands in pelton/commands/", _INTRODUCTION, [_one_deeper(text).strip()])


def _one_deeper(text: str) -> str:
    """The same text below the page's own title: each heading one level lower, code left as it is."""
    lines, in_code = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            in_code = not in_code
        lines.append(f"#{line}" if line.startswith("#") and not in_code else line)
    return "\n".join(lines)
