"""`python -m pelton`. Where a part cannot be imported, starting again will not help: the exit code says so."""

import signal
import sys
import traceback

from pelton.workers.supervisor.exit_codes import WorkerExit


def main() -> None:
    """Run the command; end as unusable where it cannot even be imported.

    Imports take a while: Ctrl-C ends the process there without a word, and not with a traceback.
    """
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from pelton.cli import main as command  # noqa: PLC0415 (a failure is caught here)
    except ImportError as error:
        traceback.print_exc()
        sys.stderr.write(f"pelton: cannot start, as {error.name} cannot be imported: reinstall Pelton.\n")
        sys.exit(WorkerExit.UNUSABLE)
    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command()


if __name__ == "__main__":
    main()
