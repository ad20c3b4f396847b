"""`pelton figures check` gives a line for a line, says which could not be read, and ends with a code."""

import json

import pytest
from typer.testing import CliRunner

from pelton.cli import app

TABLE = [["$m", "2019"], ["Sales", 5.2], ["Costs", None]]
GOOD = {"text": "Sales were $5.2 million in 2019.", "tables": [TABLE], "paragraphs": []}


@pytest.fixture
def run(tmp_path):
    def run_it(*lines, args=()):
        source = tmp_path / "in.jsonl"
        source.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return CliRunner().invoke(app, ["figures", "check", str(source), *args])

    return run_it


def test_each_line_has_its_verdicts(run):
    """Fields as documented; numbers and nulls in cells are read as written."""
    result = run(json.dumps(GOOD), json.dumps(GOOD | {"text": "Sales were $6 million."}))
    assert result.exit_code == 0
    first, second = map(json.loads, result.stdout.splitlines())
    (figure,) = first["figures"]
    assert (figure["text"], figure["start"], figure["end"]) == ("$5.2 million", 11, 23)
    assert (figure["verdict"], figure["formula"]) == ("supported", None)
    assert figure["source"] == "T1.r2.c2 (Sales, 2019): 5.2"
    assert second["figures"][0]["verdict"] == "unsupported"


def test_a_line_that_cannot_be_read_is_named_and_the_rest_is_checked(run):
    result = run(json.dumps(GOOD), "", "not json", json.dumps({"tables": []}))
    assert result.exit_code == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert ["figures" in line for line in lines] == [True, False, False]
    assert "line 3:" in result.stderr
    assert "line 4: text: Field required" in result.stderr


def test_counts_are_json_on_stdout_beside_an_output_file(run, tmp_path):
    out = tmp_path / "out.jsonl"
    result = run(json.dumps(GOOD), args=("--out", str(out), "--json"))
    assert json.loads(result.stdout) == {
        "lines": 1, "errors": 0, "figures": 1, "supported": 1, "derived": 0, "unsupported": 0,
    }  # fmt: skip
    assert json.loads(out.read_text())["figures"]


def test_an_output_that_cannot_be_written_is_an_error(run, tmp_path):
    result = run(json.dumps(GOOD), args=("--out", str(tmp_path / "none" / "out.jsonl")))
    assert result.exit_code == 2
    assert "out.jsonl" in result.stderr


def test_a_missing_input_is_an_error(tmp_path):
    assert CliRunner().invoke(app, ["figures", "check", str(tmp_path / "none.jsonl")]).exit_code == 2
