"""The file of settings that `pelton up --env-file` writes."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pelton.stack.errors import StackError
from pelton.stack.stack import LocalStack, StackConfig

DUMP = "import json, os; print(json.dumps(dict(os.environ)))"


@pytest.fixture
def stack() -> LocalStack:
    """Never started: addresses are known beforehand."""
    return LocalStack(StackConfig())


def test_a_shell_that_sources_it_has_the_settings(stack: LocalStack, tmp_path: Path) -> None:
    """`. FILE` in a plain shell exports exactly the stack's addresses to what runs there."""
    path = tmp_path / "a folder" / "pelton.env"
    path.parent.mkdir()
    stack.write_env_file(path)
    script = '. "$1"; exec "$2" -c "$3"'
    shell = ["/bin/sh", "-c", script, "sh", str(path), sys.executable, DUMP]
    dumped = subprocess.run(shell, env={}, check=True, capture_output=True)
    there = json.loads(dumped.stdout)
    assert {name: there[name] for name in there if name.startswith("PELTON_")} == stack.env
    assert stack.env["PELTON_KAFKA__BOOTSTRAP_SERVERS"] == f"127.0.0.1:{stack.kafka.port}"
    assert stack.env["PELTON_CACHE__REDIS_URL"] == f"redis://127.0.0.1:{stack.valkey.port}/0"


def test_it_is_readable_replaces_an_old_one_and_goes_with_the_stack(stack: LocalStack, tmp_path: Path) -> None:
    """Mode 0644, nothing else left in the folder, and no file once the stack is closed."""
    path = tmp_path / "pelton.env"
    path.write_text("export STALE=1\n")
    stack.write_env_file(path)
    assert "STALE" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]
    stack.close()
    assert not path.exists()


def test_a_folder_that_is_not_there_is_named(stack: LocalStack, tmp_path: Path) -> None:
    """The message names the file, and an earlier file elsewhere is not forgotten."""
    with pytest.raises(StackError, match=r"missing/pelton\.env: No such file"):
        stack.write_env_file(tmp_path / "missing" / "pelton.env")
