"""What a shell completes after `pelton`."""

import pytest
from typer.testing import CliRunner

from pelton.cli import app


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("pelton su", "submit"), ("pelton dlt re", "replay"), ("pelton submit --retry", "--retry-failed")],
    ids=["a command", "a subcommand", "an option"],
)
def test_commands_and_options_are_completed(typed: str, completed: str) -> None:
    asked = {"_PELTON_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": typed}
    assert f'"{completed}":' in CliRunner().invoke(app, [], env=asked, prog_name="pelton").stdout
