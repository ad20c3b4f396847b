"""The page of error codes."""

from pelton.pipeline import errors
from pelton.pipeline.errors import ExecutionError, PeltonError, RequestError
from pelton.reference.markdown import code, document, one_line, table

_INTRODUCTION = """\
A request that cannot be answered gets a reply with one of these codes in `error.code`. The HTTP status is the one that
`pelton serve` answers with. A dead-lettered request is kept on a dead-letter topic, from which it can be replayed."""

_HEAD = ("code", "HTTP status", "dead-lettered", "class", "meaning")


def page() -> str:
    """The page as Markdown."""
    body = [
        "## Errors in the request",
        f"Their `error.type` is `{RequestError.type}`: the sender has to change the request.",
        _table(RequestError),
        "## Errors in its execution",
        f"Their `error.type` is `{ExecutionError.type}`: the request may be right.",
        _table(ExecutionError),
    ]
    return document("Error codes", "pipeline/errors.py", _INTRODUCTION, body)


def _table(family: type[PeltonError]) -> str:
    # Only the classes of that module: others may derive from them, in tests or in a user's program.
    kinds = [kind for kind in family.__subclasses__() if kind.__module__ == errors.__name__]
    return table(_HEAD, (_row(kind) for kind in kinds))


def _row(kind: type[PeltonError]) -> list[str]:
    dead_lettered = "yes" if kind.dead_letter else "no"
    own_docstring = one_line(vars(kind).get("__doc__"))
    return [code(kind.code), str(kind.status), dead_lettered, code(kind.__name__), own_docstring]
