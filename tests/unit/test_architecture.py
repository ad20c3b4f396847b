"""The layers: imports point down only, and the check that says so can fail."""

import graphlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
DOWN = "Imports point down only"
APART = "workers and producers never import each other"
RULES = "The rules open no sockets and load no tensors"
ENGINE = "The engine needs only torch, transformers, llguidance and the standard library"
WORKERS_ROOMS = "The rooms of workers import down only"
ENGINE_ROOMS = "The rooms of the engine import down only"
PRODUCERS_ROOMS = "The rooms of producers import down only"
CACHE_ROOMS = "The rooms of cache import down only"
REPORTS_ROOMS = "The rooms of reports import down only"
WIRE = "The wire contract knows no settings"
CONTRACTS = (DOWN, APART, RULES, ENGINE, WORKERS_ROOMS, ENGINE_ROOMS, PRODUCERS_ROOMS, CACHE_ROOMS, REPORTS_ROOMS, WIRE)
PLACED = {
    DOWN: "pelton",
    WORKERS_ROOMS: "pelton.workers",
    ENGINE_ROOMS: "pelton.workers.engine",
    PRODUCERS_ROOMS: "pelton.producers",
    REPORTS_ROOMS: "pelton.producers.reports",
    CACHE_ROOMS: "pelton.cache",
}
"""Contracts that place every room of a package, and the package."""
FOLDERS = ("cache", "pelton", "pipeline", "producers", "workers")
MAX_MODULES = 15


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the contracts of the `pyproject.toml` in `folder` over the packages that lie there."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    environment = os.environ | {"PYTHONPATH": str(folder), "NO_COLOR": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_layers_are_kept() -> None:
    """No package imports one above it or beside it, and each contract of the design is really checked."""
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    for contract in CONTRACTS:
        assert f"{contract} KEPT" in result.stdout


BROKEN = (
    ("pelton.pipeline", "pelton.cache", DOWN),
    ("pelton.pipeline", "pelton.commands", DOWN),
    ("pelton.cache", "pelton.workers", DOWN),
    ("pelton.producers", "pelton.cli", DOWN),
    ("pelton.workers", "pelton.producers", APART),
    ("pelton.producers", "pelton.workers", APART),
    ("pelton.pipeline", "aiokafka.errors", RULES),
    ("pelton.pipeline", "redis.asyncio", RULES),
    ("pelton.pipeline", "torch", RULES),
    ("pelton.pipeline", "socket", RULES),
    ("pelton.workers.engine", "pelton.pipeline.errors", ENGINE),
    ("pelton.workers.engine", "pydantic", ENGINE),
    ("pelton.workers.engine", "aiokafka", ENGINE),
    ("pelton.workers.engine", "pelton.workers.intruder_below", ENGINE),
    ("pelton.workers.delivery", "pelton.workers.intake.poller", WORKERS_ROOMS),
    ("pelton.workers.sessions", "pelton.workers.sharing.sharing", WORKERS_ROOMS),
    ("pelton.workers.engine.cuda", "pelton.workers.engine.continuous.engine", ENGINE_ROOMS),
    ("pelton.producers.kafka", "pelton.producers.client", PRODUCERS_ROOMS),
    ("pelton.cache.sessions", "pelton.cache.replies.tiered", CACHE_ROOMS),
    ("pelton.producers.routing", "pelton.producers.batch.submit", PRODUCERS_ROOMS),
    ("pelton.producers.reports.spec", "pelton.producers.reports.service.board", REPORTS_ROOMS),
    ("pelton.pipeline.wire", "pelton.pipeline.settings.loading", WIRE),
)
"""A package, what a module in it imports, and the contract that forbids it."""


@pytest.fixture(scope="module")
def violations(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """What is said of a copy with a module `intruder_<number>` for each of `BROKEN`, importing inside a function."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(ROOT / "pelton", folder / "pelton", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pelton/workers/intruder_below.py").write_text("import pelton.pipeline\n", "utf-8")
    for number, (package, imported, _) in enumerate(BROKEN):
        file = folder / package.replace(".", "/") / f"intruder_{number}.py"
        file.write_text(f"def late():\n    import {imported}\n    return {imported}\n", "utf-8")
    return lint_imports(folder)


@pytest.mark.parametrize("number", range(len(BROKEN)), ids=["->".join(case[:2]) for case in BROKEN])
def test_a_violation_is_found(number: int, violations: subprocess.CompletedProcess[str]) -> None:
    """Every contract bites: an import that breaks it, inside a function or through a neighbour, is named under it."""
    package, imported, contract = BROKEN[number]
    assert violations.returncode != 0
    said = violations.stdout.partition("Broken contracts")[2].partition(f"\n{contract}\n")[2]
    of_contract = " ".join(re.split(r"(?m)^-{4,}$", said)[1].split())
    named = imported if imported.startswith("pelton.") else imported.partition(".")[0]
    assert f"{package}.intruder_{number} -> {named}" in of_contract


def test_a_room_without_a_place_is_found(tmp_path: Path) -> None:
    """Who adds a module beside the others says what it may import."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "pelton", tmp_path / "pelton", ignore=shutil.ignore_patterns("__pycache__"))
    for package in PLACED.values():
        (tmp_path / package.replace(".", "/") / "unplaced.py").touch()
    said = lint_imports(tmp_path).stdout
    for contract, package in PLACED.items():
        assert f"{contract} BROKEN" in said
        assert f"- {package}.unplaced\n" in said


def test_no_import_runs_in_a_circle() -> None:
    """Modules can be put in an order in which each imports only earlier ones, imports in functions included."""
    graph = grimp.build_graph("pelton", cache_dir=None)
    order = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert list(graphlib.TopologicalSorter(order).static_order())


def test_no_folder_is_crowded() -> None:
    """A folder that a reader can take in at once."""
    tops = (*FOLDERS, "benchmarks")
    folders = {file.parent for top in tops for file in (ROOT / top).rglob("*.py") if not file.parent.is_symlink()}
    counts = {folder: sum(file.name != "__init__.py" for file in folder.glob("*.py")) for folder in folders}
    assert {str(folder): count for folder, count in counts.items() if count > MAX_MODULES} == {}


def test_kafka_clients_are_started_and_stopped_in_one_place() -> None:
    """By `pipeline/kafka/clients.py`, which leaves no connection open and waits for nothing without a bound."""
    by_itself = re.compile(r"\b_?(?:consumer|producer|member|admin)\.(?:start|stop)\(\)")
    files = [file for top in ("producers", "workers") for file in sorted((ROOT / top).rglob("*.py"))]
    assert [str(file) for file in files if by_itself.search(file.read_text())] == []
    assert by_itself.search("await self._consumer.stop()")


@pytest.mark.parametrize("name", ["cache", "pipeline", "producers", "workers"])
def test_a_folder_under_its_bare_name_is_refused(name: str) -> None:
    """Such an import would work in a checkout only, and take a user's own module elsewhere."""
    command = [
        str(Path(sys.executable).with_name("ruff")),
        "check",
        "--select",
        "TID251",
        "--stdin-filename",
        "x.py",
        "-",
    ]
    checked = subprocess.run(
        command, cwd=ROOT, input=f"from {name} import thing\n", capture_output=True, text=True, check=False
    )
    assert f"Import pelton.{name}." in checked.stdout


def test_no_test_imports_from_another() -> None:
    """What several need lies beside them: a test can be moved, cut or run alone."""
    from_a_test = re.compile(r"^from tests\.[\w.]*\btest_\w+ import|^import tests\.[\w.]*\btest_", re.MULTILINE)
    assert [str(file) for file in (ROOT / "tests").rglob("*.py") if from_a_test.search(file.read_text())] == []
    assert from_a_test.search("from tests.unit.test_docs import found\n")
