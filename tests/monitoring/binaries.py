"""Prometheus' programs: those in the folder that the variable PROMETHEUS names, else those on PATH."""

import os
import shutil
import subprocess
from pathlib import Path

VARIABLE = "PROMETHEUS"
ALERTMANAGER = ("prometheus-alertmanager", "alertmanager")
"""By Debian's name and by its own."""


class Missing(Exception):
    """A program is not there; the message says how to get it."""


def program(*names: str) -> str:
    """The path of a program, which has one of these names. Raises `Missing`."""
    folder = os.environ.get(VARIABLE)
    found = next((path for name in names if (path := shutil.which(name, path=folder))), None)
    if found is None:
        place = f"in {folder}, which {VARIABLE} names," if folder else "on PATH"
        raise Missing(
            f"{names[-1]} is not {place}: on Debian and Ubuntu `apt-get install prometheus prometheus-alertmanager` "
            f"has it; or set {VARIABLE} to a folder with prometheus, promtool, amtool and alertmanager."
        )
    return found


def check(what: str, *command: str | Path) -> str | None:
    """Run a check; what it says where it finds a fault, else None."""
    done = subprocess.run(  # the program was looked for by name
        [str(part) for part in command], capture_output=True, text=True, check=False, timeout=60
    )
    return None if done.returncode == 0 else f"{what}:\n{done.stdout}{done.stderr}"
