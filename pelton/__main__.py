"""`python -m pelton`. Where a part cannot be imported, starting again will not help: the exit code says so."""

import sys
import traceback

from pelton.quiet_imports import quiet_imports
from pelton.workers.supervisor.exit_codes import WorkerExit


def main() -> None:
    """Run the command; end as unusable where it cannot even be imported."""
    try:
        with quiet_imports():
            from pelton.cli import main as command  # noqa: PLC0415 (a failure is caught here)
        command()
    except ImportError as error:
        traceback.print_exc()
        sys.stderr.write(f"pelton: cannot start, as {error.name} cannot be imported: reinstall Pelton.\n")
        sys.exit(WorkerExit.UNUSABLE)


if __name__ == "__main__":
    main()
