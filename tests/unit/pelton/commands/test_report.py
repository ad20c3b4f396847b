"""`pelton report` refuses what the job service would refuse, before it starts or sends anything."""

from pathlib import Path
from typing import NoReturn

import pytest
from typer.testing import CliRunner

from pelton.cli import app
from pelton.commands.reports import report

JOB = """\
entity: Acme
period: 2019
sources: [{name: table, path: table.csv}]
sections: [{id: one, title: One, prompt: "{{ material }}"}]
"""
TABLE = "item,2019,2018\nSales,1200,1000\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs, which must start nothing."""

    def start(*_: object) -> NoReturn:
        raise AssertionError("something was started")

    monkeypatch.setattr(report, "local_services", start)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("job", "table", "out", "said"),
    [
        (JOB.replace("material", "materials"), TABLE, "out", "'materials' is undefined"),
        (JOB, "", "out", "'table' holds no text"),
        (JOB, "item,what\nSales,many\nCosts,few\n", "out", "hold no number"),
        (JOB, TABLE, "table.csv/out", "--out"),
    ],
    ids=["prompt", "empty source", "no numbers", "folder"],
)
def test_at_once(folder: Path, job: str, table: str, out: str, said: str) -> None:
    """With --local it would take a minute until Kafka, a worker and the service are there to refuse it."""
    (folder / "job.yaml").write_text(job)
    (folder / "table.csv").write_text(table)
    done = CliRunner().invoke(app, ["report", "job.yaml", "--out", out, "--local"])
    assert done.exit_code == 2
    assert said in done.stderr
