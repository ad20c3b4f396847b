"""The file of settings that `pelton up --env-file` writes."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pelton.stack.env_file import EnvFile
from pelton.stack.errors import StackError
from pelton.stack.stack import LocalStack, StackConfig

DUMP = "import json, os; print(json.dumps(dict(os.environ)))"


@pytest.fixture
def stack() -> LocalStack:
    """Never started: addresses are known beforehand."""
    return LocalStack(StackConfig())


def test_a_shell_that_sources_it_has_the_settings(stack: LocalStack, tmp_path: Path) -> None:
    """`. FILE` in a plain shell exports exactly the stack's settings to what runs there."""
    path = tmp_path / "a folder" / "pelton.env"
    path.parent.mkdir()
    script = '. "$1"; exec "$2" -c "$3"'
    shell = ["/bin/sh", "-c", script, "sh", str(path), sys.executable, DUMP]
    with EnvFile(path) as file:
        file.write(stack.exports)
        dumped = subprocess.run(shell, env={}, check=True, capture_output=True)
    there = json.loads(dumped.stdout)
    assert {name: there[name] for name in there if name.startswith("PELTON_")} == stack.env
    assert stack.env["PELTON_KAFKA__BOOTSTRAP_SERVERS"] == f"127.0.0.1:{stack.kafka.port}"
    assert stack.env["PELTON_CACHE__REDIS_URL"] == f"redis://127.0.0.1:{stack.valkey.port}/0"
    assert stack.env["PELTON_KAFKA__CREATE_TOPICS"] == "true", (
        "`pelton serve` has topics that `pelton up` does not make"
    )


def test_it_is_readable_replaces_an_old_one_and_goes_in_the_end(stack: LocalStack, tmp_path: Path) -> None:
    """Mode 0644, nothing else left in the folder, and no file once it is closed."""
    path = tmp_path / "pelton.env"
    path.write_text("export PELTON_STALE=1\n")
    with EnvFile(path) as file:
        file.write(stack.exports)
        assert "STALE" not in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        assert list(tmp_path.iterdir()) == [path]
    assert not list(tmp_path.iterdir())


def test_two_do_not_share_one(stack: LocalStack, tmp_path: Path) -> None:
    """The second is refused, whether it comes before or after the first has written; the first's file stays."""
    path = tmp_path / "pelton.env"
    with EnvFile(path) as first:
        with EnvFile(path) as second:
            first.write(stack.exports)
            with pytest.raises(StackError, match="Another `pelton up`"):
                second.write(["export PELTON_SECOND=1"])
        with pytest.raises(StackError, match="Another `pelton up`"):
            EnvFile(path)
        assert path.read_text().splitlines() == stack.exports
    assert not list(tmp_path.iterdir())


def test_a_file_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    """Only what a stack has written is replaced."""
    path = tmp_path / "pelton.env"
    path.write_text("export MINE=1\n")
    with pytest.raises(StackError, match="was not written by"):
        EnvFile(path)
    assert path.read_text() == "export MINE=1\n"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Before anything is started."""
    with pytest.raises(StackError, match=r"missing/pelton\.env: No such file"):
        EnvFile(tmp_path / "missing" / "pelton.env")


def test_a_bad_folder_for_data_is_named(tmp_path: Path) -> None:
    """A file stands in its way."""
    (tmp_path / "data").write_text("")
    stack = LocalStack(StackConfig(data=tmp_path / "data" / "below"))
    with pytest.raises(StackError, match="cannot keep its data in"):
        stack.start()
