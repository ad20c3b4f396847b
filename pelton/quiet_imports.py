"""Imports take a while: Ctrl-C ends the process there without a word, and not with a traceback."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Around imports at a command's start. Where Ctrl-C is ignored or handled otherwise, it stays so."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    yield
    if usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
