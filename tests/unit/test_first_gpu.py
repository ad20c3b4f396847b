"""The first command on a machine with a card: it has time for every step, and needs nothing but what is there."""

import ast
import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.first_gpu import SECONDS, Step, run, steps, table

ROOT = Path(__file__).parents[2]
_BY_TRANSFORMERS = {"tokenizers", "safetensors", "huggingface_hub"}
THERE = {"torch", "transformers", "triton", "numpy", "pytest", "hypothesis"} | _BY_TRANSFORMERS
"""What a machine for computing with PyTorch has."""
BROUGHT = {"llguidance"}
"""What the head of first_gpu.sh says how to bring."""


def test_every_step_has_its_turn() -> None:
    """Where all use up their time there is still some for each; what their commands name is there."""
    for dry in (False, True):
        assert sum(step.limit_s for step in steps(dry)) <= SECONDS
        for step in steps(dry):
            assert importlib.util.find_spec(step.command[0])
            assert all((ROOT / part).exists() for part in step.command if part.startswith("tests/"))


def test_a_step_that_hangs_costs_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends at its limit with its children, who hold its output; what it had said until then is kept."""
    (tmp_path / "hanging_step.py").write_text(
        "import subprocess, sys\n"
        "print('RESULT {\"a\": 1}', flush=True)\n"
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(100)'])\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    started = time.monotonic()
    done = run(Step("hangs", 3, ("hanging_step",)), 3, tmp_path / "log")
    assert time.monotonic() - started < 60
    assert (done.outcome, done.figures) == ("stopped after 3 s", [{"a": 1}])


def test_a_step_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the table, not only in the log."""
    (tmp_path / "failing_step.py").write_text("raise ValueError('no such kernel')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = run(Step("fails", 3, ("failing_step",)), 60, tmp_path / "log")
    assert (done.outcome, done.problems) == ("failed (1)", ["ValueError: no such kernel"])
    assert "! ValueError: no such kernel" in table([done])


def test_nothing_is_imported_that_such_a_machine_has_not() -> None:
    """Of all that the steps import, tests with their fixtures included: a missing package would end a step at once."""
    named = [part for step in steps(dry=False) for part in step.command]
    todo = [f"{name.replace('.', '/')}.py" for name in named if name.startswith("benchmarks.")]
    todo += ["benchmarks/first_gpu.py", "tests/conftest.py", "tests/unit/workers/engine/conftest.py"]
    todo += [str(path.relative_to(ROOT)) for path in (ROOT / "tests/unit/workers/engine/cuda").rglob("*.py")]
    seen: dict[str, set[str]] = {}
    while todo:
        path = todo.pop()
        if path in seen or path == "tests/servers.py":  # which is imported only where its packages are
            continue
        names = set(imported(ast.parse((ROOT / path).read_text())))
        seen[path] = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
        todo += [found for name in names for found in files_of(name)]
    needed = set.union(*seen.values()) - {"pelton", "tests", "benchmarks"}
    assert {"torch", "triton"} <= needed
    strange = needed - THERE - BROUGHT
    assert not strange, {path: names & strange for path, names in seen.items() if names & strange}


def imported(node: ast.AST) -> Iterator[str]:
    """The modules, or names of modules, that are imported when a module is."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (each.name for each in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield child.module
            yield from (f"{child.module}.{each.name}" for each in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imported(child)


def files_of(name: str) -> Iterator[str]:
    """This repository's files of a module and of the packages it is in."""
    parts = name.split(".")
    if parts[0] not in ("pelton", "tests", "benchmarks"):
        return
    for count in range(1, len(parts) + 1):
        path = Path(*parts[:count])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if (ROOT / file).is_file():
                yield str(file)
