"""Where Pelton keeps files of its own on this machine."""

import os
from pathlib import Path

from pelton.pipeline.settings.loading import SettingsError

CACHE_VARIABLE = "PELTON_CACHE_DIR"


def cache_dir() -> Path:
    """What can be fetched again lies here: `$PELTON_CACHE_DIR`, else `pelton` in the user's cache folder.

    The folder need not exist yet. Raises `SettingsError` where nothing says which folder that is.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    user_caches = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(user_caches) if user_caches else Path.home() / ".cache") / "pelton"
    except RuntimeError as error:  # a container's user that has no HOME and no entry in the list of users
        raise SettingsError(
            f"There is no home folder to keep files in: set {CACHE_VARIABLE} to a folder that can be written to."
        ) from error
