"""`python -m pelton`. Where a part cannot be imported, starting again will not help: the exit code says so."""

import sys
import traceback

from pelton.workers.supervisor.exit_codes import WorkerExit


def main() -> None:
    """Run the command; end as unusable where it cannot even be imported."""
    try:
        from pelton.cli import main as command  # noqa: PLC0415 (a failure is caught here)
    except ImportError as error:
        traceback.print_exc()
        sys.stderr.write(f"pelton: cannot start, as {error.name} cannot be imported: reinstall Pelton.\n")
        sys.exit(WorkerExit.UNUSABLE)
    command()


if __name__ == "__main__":
    main()
