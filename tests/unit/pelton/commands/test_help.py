"""What `--help` says of options."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from pelton.cli import COMMANDS, app


def _commands(command: Any) -> Iterator[Any]:
    yield command
    if hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            yield from _commands(command.get_command(None, name))


def test_a_switch_does_not_look_as_if_it_took_a_value() -> None:
    """Of every command, and of the switches that typer makes itself: it would write `<bool>` beside them."""
    found = list(_commands(get_command(app)))
    assert len(found) > len(COMMANDS)
    switches = {
        f"{command.name} {option.opts[0]}": option.metavar
        for command in found
        for option in command.get_params(typer.Context(command))
        if getattr(option, "is_flag", False)
    }
    assert {name for name, metavar in switches.items() if metavar != ""} == set()
    assert {"ask --json", "list --help", "pelton --help", "pelton --show-completion"} <= switches.keys()


@pytest.mark.parametrize(("written", "meant"), [("wroker", "worker"), ("config chekc", "check")])
def test_a_misspelt_command_is_told_the_nearest(written: str, meant: str) -> None:
    ended = CliRunner().invoke(app, written.split())
    assert ended.exit_code == 2
    assert f"Did you mean '{meant}'?" in ended.output
