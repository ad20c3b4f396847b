"""Where Pelton keeps files of its own on this machine."""

import os
from pathlib import Path

CACHE_VARIABLE = "PELTON_CACHE_DIR"


def cache_dir() -> Path:
    """What can be fetched again lies here: `$PELTON_CACHE_DIR`, else `pelton` in the user's cache folder.

    The folder need not exist yet.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    user_caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(user_caches) if user_caches else Path.home() / ".cache") / "pelton"
