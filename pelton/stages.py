"""What is waited for, for whoever looks on."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


@contextmanager
def stage(console: Console, what: str) -> Iterator[None]:
    """A spinner on a terminal; elsewhere a line, as a log that says nothing for a minute looks like one that hangs."""
    if not console.is_terminal:
        console.print(what)
        yield
        return
    with console.status(what):
        yield
