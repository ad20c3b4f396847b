"""`pelton ab assign`: who has which variant, without Kafka."""

from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from pelton.commands.ab.commands import app
from pelton.producers.routing.assignment import assigned

SETTINGS = """\
[routing.pools]
large = {topic = "l", group_id = "gl"}
small = {topic = "s", group_id = "gs"}
[routing.experiments.reports]
salt = "x"
shadow = {model = "small", share = 1.0}
[routing.experiments.reports.variants]
now = {model = "large", weight = 2}
new = {model = "small", weight = 1}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "pelton.toml"
    path.write_text(SETTINGS)
    return path


def test_it_says_what_routers_do(config: Path) -> None:
    units = [f"user-{number}" for number in range(9)]
    told = CliRunner().invoke(app, ["assign", "reports", *units, "--json", "--config", str(config)])
    assert told.exit_code == 0
    assert {row["unit"]: row["variant"] for row in orjson.loads(told.stdout)} == {
        unit: assigned("reports", "x", {"now": 2, "new": 1}, unit) for unit in units
    }
    plain = CliRunner().invoke(app, ["assign", "reports", "user-1", "--config", str(config)])
    assert plain.stdout.endswith(" (copied)\n")


def test_an_unknown_experiment_is_named(config: Path) -> None:
    told = CliRunner().invoke(app, ["assign", "nonsense", "user-1", "--config", str(config)])
    assert told.exit_code == 2
    assert "reports" in told.stderr
