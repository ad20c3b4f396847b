"""Objects get what they need when they are made, and nothing afterwards; functions fit in the eye."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("pelton", "cache", "pipeline", "producers", "workers")
LINKS = {ROOT / "pelton" / name for name in FOLDERS}

SEQUENCE = "what the scheduler notes of a sequence, which is a class for speed"
OTHERS = {
    "pelton/commands/common.py": {"propagate": "loggers of the standard library"},
    "pelton/logs.py": dict.fromkeys(("message", "worker", "left_out"), "log records of the standard library"),
    "producers/http/server.py": {"should_exit": "how uvicorn is ended"},
    "pipeline/templates.py": {"filters": "Jinja's tables", "tests": "Jinja's tables", "iter": "a node of Jinja's tree"},
    "producers/reports/figures/checking/check.py": {"prec": "the decimal context"},
    "producers/reports/figures/by_reference/formatting.py": {"prec": "the decimal context"},
    "producers/reports/figures/by_reference/operations.py": {"prec": "the decimal context"},
    "workers/engine/cuda/compiling.py": {"_compiled_call_impl": "a module of torch"},
    "workers/engine/cuda/paged_op.py": {"step": "storage of the thread"},
    "workers/engine/padded/engine.py": {"generation_config": "a model of transformers"},
    "workers/engine/scheduling/prefix_cache.py": dict.fromkeys(("computed", "cached"), SEQUENCE),
    "workers/engine/scheduling/scheduler.py": dict.fromkeys(("computed", "stays"), SEQUENCE),
    "workers/fairness/quota_gate.py": {"reserved": "a generation notes what becomes of it"},
    "workers/inference/thread.py": dict.fromkeys(("begun", "taken"), "a generation notes what becomes of it"),
    "workers/kafka/broker_wait.py": {"propagate": "loggers of the standard library"},
    "workers/kafka/consumer.py": {"topics": "a response of aiokafka"},
}
"""What else may be set: objects of other libraries that are made for it, mostly, and what they are."""
PUT_TOGETHER = ("workers/engine/layers/", "workers/engine/model/")
"""Where modules of torch are put together, by setting what they consist of."""


@cache
def sources() -> list[tuple[str, ast.Module]]:
    """The product's files, once: the folders' links in `pelton/` are left out."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    names = [str(path.relative_to(ROOT)) for path in paths if not LINKS.intersection(path.parents)]
    return [(name, ast.parse((ROOT / name).read_text())) for name in names]


def room(path: str) -> str:
    """The package that a file's records are at home in."""
    return "/".join(path.split("/")[:2])


def records() -> dict[str, set[str]]:
    """The fields of the dataclasses of each room that may change: plain data, so none that is called."""
    fields: dict[str, set[str]] = {}
    for path, module in sources():
        for made in (node for node in ast.walk(module) if isinstance(node, ast.ClassDef)):
            decorators = [ast.unparse(each) for each in made.decorator_list]
            if any(each.startswith("dataclass") and "frozen=True" not in each for each in decorators):
                for field in made.body:
                    if isinstance(field, ast.AnnAssign) and "Callable" not in ast.unparse(field.annotation):
                        fields.setdefault(room(path), set()).add(ast.unparse(field.target))
    return fields


def assigned(node: ast.AST) -> Iterator[ast.Attribute]:
    """The attributes that a statement sets, those of `self` and `cls` left out."""
    match node:
        case ast.Assign(targets=targets):
            inside = [each for target in targets for each in ast.walk(target)]
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target) | ast.For(target=target):
            inside = list(ast.walk(target))
        case _:
            inside = []
    for each in inside:
        if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store):
            owner = each.value
            if not (isinstance(owner, ast.Name) and owner.id in {"self", "cls"}):
                yield each


def faults(path: str, module: ast.Module, fields: set[str]) -> Iterator[str]:
    allowed = fields | set(OTHERS.get(path, ()))
    for node in ast.walk(module):
        for attribute in assigned(node):
            if attribute.attr not in allowed:
                yield f"{path}:{attribute.lineno}: {ast.unparse(attribute)}"
        match node:
            case ast.Call(func=ast.Name(id="setattr") | ast.Attribute(value=ast.Name(id="object"), attr="__setattr__")):
                yield f"{path}:{node.lineno}: {ast.unparse(node)}"


def test_no_attribute_of_another_object_is_set_after_its_construction() -> None:
    """Records of a room's own, which are only data, may change in it; callbacks are given to a constructor."""
    fields = records()
    composed = [(path, module) for path, module in sources() if not path.startswith(PUT_TOGETHER)]
    found = [each for path, module in composed for each in faults(path, module, fields.get(room(path), set()))]
    assert found == []


def test_a_callback_that_is_set_later_is_found() -> None:
    """As one that is a field of a record, a deep attribute, one of several targets, or is set by name."""
    module = ast.parse(
        "feed.on_news = print\nself.part.flights.on_end = end\na, one.ready = 1, 2\nsetattr(one, 'ready', 3)\n"
        "self.own = 1\nvisit.stage = 2"
    )
    found = list(faults("workers/sessions/some.py", module, records()["workers/sessions"]))
    assert [each.split(": ")[1] for each in found] == [
        "feed.on_news", "self.part.flights.on_end", "one.ready", "setattr(one, 'ready', 3)",
    ]  # fmt: skip


KERNELS = "workers/engine/cuda/kernels/"
MAX_LINES = 40


def long_functions(path: str, module: ast.Module) -> Iterator[str]:
    """Functions with more lines than fit in the eye; signature and docstring are not counted."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            if (lines := node.end_lineno - first.lineno + 1) > MAX_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {lines} lines"


def test_functions_fit_in_the_eye() -> None:
    """All but kernels, whose steps share what lies in registers."""
    found = [
        each for path, module in sources() if not path.startswith(KERNELS) for each in long_functions(path, module)
    ]
    assert found == []
    longest = "def f():\n" + "    a = 1\n" * (MAX_LINES + 1)
    assert list(long_functions("some.py", ast.parse(longest))) == ["some.py:1: f has 41 lines"]
