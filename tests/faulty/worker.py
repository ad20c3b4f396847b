"""`pelton worker` with the faulty engine in all its processes: `python -m tests.faulty.worker`, in the root."""

import sys
from unittest.mock import patch

import typer

from pelton.commands import worker
from tests.faulty import engine

COMMAND = [sys.executable, "-m", "tests.faulty.worker"]


def main() -> None:
    engine.install()
    with patch.object(worker, "_command", lambda *_, **__: COMMAND):
        typer.run(worker.worker)


if __name__ == "__main__":
    main()
