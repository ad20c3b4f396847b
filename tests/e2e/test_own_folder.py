"""Pelton in a folder of the user's own, with its own `cache.py`, `pipeline.py`, `workers.py` and `producers.py`."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("cache", "pipeline", "producers", "workers")
DATA = (
    "pelton/py.typed",
    "pelton/stack/kafka-jars.toml",
    "pelton/demo/tatqa_sample.jsonl",
    "pelton/demo/ATTRIBUTION.md",
)
READY_S = 200
SCRIPT = """
import asyncio
import pelton
from pelton import InferenceClient, load_settings

async def main():
    async with InferenceClient(load_settings().kafka) as client:
        messages = [{"role": "user", "content": "hello"}]
        reply = await client.request({"model": "default", "messages": messages}, timeout_s=150)
        print(pelton.__file__, reply.completion().choices[0].message.content)

asyncio.run(main())
"""


@dataclass(frozen=True)
class Installation:
    command: Path
    environment: dict[str, str]
    package: Path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, as a build leaves files behind; without network."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in (*NAMES, "pelton"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(target), str(source)], check=True, cwd=target)
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def installed_wheel(wheel, tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*command, str(wheel)], check=True, cwd=site)
    return Installation(site / "bin" / "pelton", {"PYTHONPATH": str(site)}, site / "pelton")


@pytest.fixture(params=["editable", "wheel"])
def installation(request):
    if request.param == "wheel":
        return request.getfixturevalue("installed_wheel")
    return Installation(Path(sys.executable).with_name("pelton"), {}, ROOT / "pelton")


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a file of the user was imported')\n")
    body = {"model": "default", "messages": [{"role": "user", "content": "hi"}]}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    (tmp_path / "batch.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def test_worker_batch_and_client_work_in_a_folder_with_the_same_names(installation, folder, pelton):
    """The worker and its child, a batch and a script with the public client import nothing of the folder."""
    environment = {
        **os.environ,
        **pelton.environment,
        **installation.environment,
        "PELTON_ENGINE__KIND": "simulated",
        "PELTON_WORKER__READY_FILE": str(folder / "ready"),
    }

    def run(*command: str) -> str:
        ended = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=250, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    with (folder / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [installation.command, "worker"], cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + READY_S
        while not (folder / "ready").exists():
            assert worker.poll() is None, (folder / "worker.log").read_text()
            assert time.monotonic() < deadline, (folder / "worker.log").read_text()
            time.sleep(0.05)
        run(str(installation.command), "submit", "batch.jsonl", "--out", "out.jsonl", "--timeout", "150")
        assert json.loads((folder / "out.jsonl").read_text())["response"]["status_code"] == 200
        file, _, answer = run(sys.executable, "script.py").partition(" ")
        assert Path(file).parent == installation.package
        assert answer.strip()
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
    assert worker.returncode == 0, (folder / "worker.log").read_text()


def test_the_wheel_has_everything(wheel):
    """Every module and every data file, all of them below the one package."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {
        f"{'' if package == 'pelton' else 'pelton/'}{file.relative_to(ROOT)}"
        for package in (*NAMES, "pelton")
        for file in (ROOT / package).rglob("*.py")
    }
    assert modules | set(DATA) <= names
    assert {name.partition("/")[0] for name in names} == {"pelton"}


def test_a_part_that_cannot_be_imported_is_unusable(installed_wheel, folder):
    """Exit code 2: a parent does not start such a worker again."""
    (folder / "site").mkdir()
    shutil.copytree(installed_wheel.package, folder / "site" / "pelton")
    (folder / "site" / "pelton" / "cli.py").write_text("import surely_not_installed\n")
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "pelton", "worker"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "surely_not_installed cannot be imported" in ended.stderr
