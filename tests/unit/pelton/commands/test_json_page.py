"""The page of JSON output has every field that commands print, and no other."""

import dataclasses
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pelton.cache.replies.admin import CacheSummary
from pelton.cli import app
from pelton.commands import cache
from pelton.commands.backlog import Row
from pelton.commands.config import Setting
from pelton.commands.dlt import view
from pelton.commands.top.figures import Totals, WorkerFigures
from pelton.demo.results import BatchStats, DemoResult, Exchange
from pelton.producers.batch.submit import Summary
from pelton.producers.batch.tools.check import Checked, Fault
from pelton.producers.batch.tools.diff import Difference
from pelton.producers.dead_letters.letters import DeadLetter, LetterPosition
from pelton.producers.reports.figures.json_lines import Counts
from pelton.producers.reports.service.records import JobStatus

PAGE = (Path(__file__).parents[4] / "docs" / "reference" / "json.md").read_text()
EXCHANGE = Exchange("q", "a", "a", None, 1.0, 1, 1)
LETTER = DeadLetter(
    place=LetterPosition(1, 2), timestamp_ms=0, origin=None, origin_timestamp_ms=None, code="x", message="x",
    attempts=1, correlation_id=None, tenant=None, key=None, value=None, headers=(), truncated=False,
)  # fmt: skip


def names(kind: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


PRINTED = {
    "top": names(Totals) | names(WorkerFigures),
    "backlog": set(Row("topic", 1, None).as_json()),
    "config show": names(Setting),
    "dlt list": set(json.loads(view.as_json(LETTER, None, whole=False))),
    "submit": names(Summary),
    "demo": set(DemoResult("m", [EXCHANGE], 1.0, BatchStats(1.0, 1.0)).as_json()),
    "cache stats": set(json.loads(cache._as_json(CacheSummary({}, Counter(), None)))),
    "files check": names(Checked) | {"tokens_per_second", "at_most_s"},
    "files diff": names(Difference),
    "figures check": set(Counts().as_dict()),
    "reports list": set(JobStatus.model_fields),
}


def section(command: str) -> str:
    return PAGE.partition(f"## `pelton {command}`\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("command", PRINTED)
def test_every_field_is_on_the_page(command: str) -> None:
    """In the first column of the command's tables."""
    first_cells = re.findall(r"^\| (.*?) \|", section(command), re.MULTILINE)
    said = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    assert said == PRINTED[command]


def test_lines_before_the_counts_are_on_the_page() -> None:
    """Of faults, of open requests, and of a whole letter."""
    assert all(f"`{name}`" in section("files check") for name in names(Fault))
    whole = set(json.loads(view.as_json(LETTER, None, whole=True))) - PRINTED["dlt list"]
    assert all(f"`{name}`" in section("dlt list") for name in whole)
    assert all(f"`{name}`" in section("demo") for name in names(Exchange))


def test_every_command_with_json_is_on_the_page() -> None:
    """As the page of commands, which is made from the code, has them."""
    commands = (Path(__file__).parents[4] / "docs" / "reference" / "commands.md").read_text()
    with_json = [part.partition("`")[0] for part in commands.split("# `pelton ")[1:] if "`--json`" in part]
    assert len(with_json) > len(PRINTED)
    assert [name for name in with_json if f"`pelton {name}`" not in PAGE and f"`{name}`" not in PAGE] == []


def test_what_is_printed_is_json() -> None:
    """Nothing else is on stdout."""
    assert len(json.loads(CliRunner().invoke(app, ["config", "show", "--json"]).stdout)) > len(PRINTED)
