"""How commands end: expected errors as one line and a code, all others as they are."""

import pytest
import typer

from pelton.cache.connection import CacheUnavailable
from pelton.commands.common import Exit, clear_errors, run_async
from pelton.pipeline.settings.loading import SettingsError
from pelton.producers.errors import BatchError, BrokerUnreachable, NoProgress, ReplyError, ReplyTimeout


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("told"), Exit.UNUSABLE),
        (CacheUnavailable("told"), Exit.UNUSABLE),
        (BrokerUnreachable("told"), Exit.UNUSABLE),
        (BatchError("told"), Exit.UNUSABLE),
        (ReplyError("told", code=None, param=None, body={}), Exit.FAILED),
        (ReplyTimeout("told"), Exit.TIMED_OUT),
        (NoProgress("told"), Exit.TIMED_OUT),
    ],
)
def test_an_expected_error(error, code, capsys):
    """One line on stderr, however long, and the exit code of its kind."""

    async def command():
        error.args = (f"told [bold] {'x' * 300}",)
        raise error

    with pytest.raises(typer.Exit) as ended:
        run_async(command())
    assert ended.value.exit_code == code
    assert capsys.readouterr() == ("", f"pelton: told [bold] {'x' * 300}\n")


def test_an_interrupt(capsys):
    """130, as the shell has it, with the command's own words."""
    with pytest.raises(typer.Exit) as ended, clear_errors(interrupted="Stopped here."):
        raise KeyboardInterrupt
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == "pelton: Stopped here.\n"


def test_an_error_nobody_expected():
    """A bug keeps its traceback."""
    with pytest.raises(ZeroDivisionError), clear_errors():
        raise ZeroDivisionError


def test_a_result_comes_through():
    """What the coroutine returns is what the command gets."""

    async def command():
        return 7

    assert run_async(command()) == 7
