"""Settings whose values lie in files: `PELTON_KAFKA__SASL_PASSWORD_FILE=/run/secrets/kafka` sets `kafka.sasl_password`.

Docker and Kubernetes hand secrets over as files, and variables show in listings of processes and crash reports.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from pelton.pipeline.settings.names import variable_of

SUFFIX = "_FILE"
MAX_BYTES = 1_048_576


def value_files(environment: Mapping[str, str], settings: Collection[str]) -> dict[str, tuple[str, str]]:
    """The variable and its file for each setting that is given so, by the setting's own variable.

    A name that is a setting's already, such as `PELTON_WORKER__READY_FILE`, is nothing of the kind.
    """
    own = {variable_of(name) for name in settings}
    found = {}
    for variable, file in environment.items():
        name = variable.upper()
        if name not in own and name.endswith(SUFFIX) and name.removesuffix(SUFFIX) in own:
            found[name.removesuffix(SUFFIX)] = (variable, file)
    return found


def values_from_files(
    environment: Mapping[str, str], settings: Collection[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """The values by the setting's own variable, and faults by variable. One line's end at a value's end is dropped."""
    own = {name.upper() for name in environment}
    values, faults = {}, {}
    for name, (variable, file) in value_files(environment, settings).items():
        if name in own:
            faults[variable] = f"{name} is set too; which of the two counts?"
            continue
        try:
            values[name] = _read(Path(file))
        except OSError as error:
            faults[variable] = f"{file} cannot be read: {error.strerror}"
        except ValueError:
            faults[variable] = f"{file} is no text in UTF-8 of at most {MAX_BYTES:,} bytes"
    return values, faults


def _read(path: Path) -> str:
    """Raises `OSError`, or `ValueError` for what is no text."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(path)
    return content.decode().removesuffix("\n").removesuffix("\r")
