"""The progress bar of a batch."""

import io

from rich.console import Console

from pelton.commands import progress
from pelton.producers.batch.submit import Progress


def test_the_last_state_is_shown(monkeypatch):
    """Whatever came before it, and however fast: what stays on the screen is how it ended."""
    screen = io.StringIO()
    monkeypatch.setattr(progress, "stderr", Console(file=screen, width=100))
    with progress.progress_bar() as show:
        for done in range(1_000):
            show(Progress(1_000, done, 1, 0))
    assert "1000/1000" in screen.getvalue()
    assert "999 ok 1 failed" in screen.getvalue()


def test_nothing_is_shown_of_what_never_began(monkeypatch):
    """No empty line where a run was refused."""
    screen = io.StringIO()
    monkeypatch.setattr(progress, "stderr", Console(file=screen, width=100))
    with progress.progress_bar():
        pass
    assert not screen.getvalue()
