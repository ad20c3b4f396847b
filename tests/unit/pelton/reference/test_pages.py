"""The generated pages say what the code says, and all of it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pelton.cli import COMMANDS, app
from pelton.pipeline.metrics import Metrics
from pelton.pipeline.settings.loading import Settings
from pelton.reference.pages import pages
from pelton.reference.value_types import describe_type

DOCS = Path(__file__).parents[4] / "docs"
PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_up_to_date(name):
    """What is in the repository is what the code would write today."""
    written = (DOCS / name).read_text("utf-8") if (DOCS / name).exists() else ""
    assert written == PAGES[name], f"docs/{name} is out of date: run `make reference` and commit what it writes"


def variables(values, prefix="PELTON"):
    for name, value in values.items():
        path = f"{prefix}__{name}".upper() if prefix != "PELTON" else f"PELTON_{name}".upper()
        yield from variables(value, path) if isinstance(value, dict) and value else [path]


def test_every_setting_has_its_variable():
    """None is missing, and the names are those that are read."""
    text = PAGES["operations/settings.md"]
    assert [name for name in variables(Settings().model_dump()) if f"`{name}`" not in text] == []


def test_a_variable_of_the_page_is_read(monkeypatch):
    """A nested section's variable, as the page names it, sets what it says."""
    assert "`PELTON_ENGINE__SIMULATED__SEED`" in PAGES["operations/settings.md"]
    monkeypatch.setenv("PELTON_ENGINE__SIMULATED__SEED", "7")
    assert Settings().engine.simulated.seed == 7


@pytest.mark.parametrize("name", ["operations/settings.md", "operations/errors.md"])
def test_everything_has_a_meaning(name):
    """No row leaves its reader with a bare name: a docstring stands below each setting and in each error class."""
    assert [row for row in PAGES[name].splitlines() if row.startswith("| `") and "|  |" in row] == []


def test_every_metric_is_named():
    """What a worker exposes is on the page, and what its labels can say."""
    text = PAGES["operations/metrics.md"]
    families = [family for family in Metrics().registry.collect() if not family.name.startswith("process_")]
    assert [family.name for family in families if f"`{family.name}" not in text] == []
    said = {(sample.name, label) for family in families for sample in family.samples for label in sample.labels}
    counted = [(name, label) for name, label in said if name.endswith("_total")]
    known = [each for each in counted if each[1] not in {"tenant", "experiment", "variant"}]
    assert ("pelton_requests_finished_total", "code") in known
    assert [each for each in known if "| `{}` | `{}` |".format(*each) not in text] == []


def test_every_command_of_the_help_is_described():
    """Each name that `pelton --help` knows has a heading."""
    text = PAGES["reference/commands.md"]
    assert [name for name in COMMANDS if f"\n### `pelton {name}`\n" not in text] == []
    assert CliRunner().invoke(app, ["--help"]).exit_code == 0


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "exclusiveMinimum": 0}, "whole number, above 0"),
        ({"anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}]}, "number, at least 0"),
        ({"type": "array", "items": {"type": "string"}, "minLength": 1}, "list of text, at least 1 entries"),
        ({"type": "object", "additionalProperties": {"type": "string", "format": "password"}}, "table of secret text"),
        ({"type": "string", "enum": ["a", "b"]}, 'one of `"a"`, `"b"`'),
    ],
)
def test_a_type_is_said_in_words(schema, words):
    """Bounds and choices are part of a type."""
    assert describe_type(schema) == words


def test_an_unknown_type_is_not_passed_over():
    """A new kind of setting needs words of its own."""
    with pytest.raises(KeyError):
        describe_type({"type": "decimal"})
