"""`pelton map check`: what a map makes of samples is printed, what does not fit is named by line."""

import orjson
import pytest
from typer.testing import CliRunner

from pelton.cli import app
from pelton.commands.worker import _command

MAP = '[prompt]\nuser = "{{ text }}"\n[output]\nfield = "answer"\n'


@pytest.fixture
def files(tmp_path):
    (tmp_path / "map.toml").write_text(MAP)
    (tmp_path / "records.jsonl").write_bytes(b'{"text": "a"}\n\n{"txt": "b"}\n')
    return tmp_path


def test_bodies_go_out_and_faults_have_their_line(files):
    """Blank lines are none, but count: an editor shows the same number."""
    ran = CliRunner().invoke(
        app, ["map", "check", str(files / "map.toml"), "--sample", str(files / "records.jsonl")], catch_exceptions=False
    )
    assert ran.exit_code == 1
    assert orjson.loads(ran.stdout)["messages"] == [{"role": "user", "content": "a"}]
    assert "line 3: " in ran.stderr


def test_a_map_alone_is_checked(files):
    assert CliRunner().invoke(app, ["map", "check", str(files / "map.toml")]).exit_code == 0
    assert CliRunner().invoke(app, ["map", "check", str(files / "records.jsonl")]).exit_code == 2


def test_worker_processes_get_the_map(files):
    """The parent hands the file on, so that its children read the same."""
    command = _command(None, files / "map.toml", None, verbose=False)
    assert command[command.index("--map") + 1] == str(files / "map.toml")
