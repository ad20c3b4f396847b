"""Kafka's server as the Maven artifacts pinned in `kafka-jars.toml`, fetched once and kept in the cache folder.

Every jar is hashed before every start, which takes some 25 ms, so a damaged cache mends itself.
`python -m pelton.stack.repin VERSION` writes the pins of another version of Kafka.
"""

import hashlib
import logging
import shutil
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pelton.pipeline.paths import CACHE_VARIABLE
from pelton.stack.errors import StackError, local_extra

log = logging.getLogger(__name__)

PINS = Path(__file__).with_name("kafka-jars.toml")

_ATTEMPTS = 2
_PARALLEL = 6
_READ_TIMEOUT_S = 30
_LOCK_TIMEOUT_S = 900


@dataclass(frozen=True, slots=True)
class Jar:
    coordinate: str
    """Maven's group:artifact:version."""
    sha256: str

    @property
    def file_name(self) -> str:
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


@dataclass(frozen=True, slots=True)
class Pins:
    """One version of Kafka: all jars its server needs at run time."""

    version: str
    jars: tuple[Jar, ...]


class Fetch(Protocol):
    """Downloads `coordinate` to somewhere in the folder `scratch`. Raises `OSError` or `RuntimeError`."""

    def __call__(self, coordinate: str, scratch: Path) -> Path: ...


def read_pins(path: Path = PINS) -> Pins:
    table = tomllib.loads(path.read_text("utf-8"))
    return Pins(table["version"], tuple(Jar(**jar) for jar in table["jars"]))


def fetch_from_maven(coordinate: str, scratch: Path) -> Path:
    with local_extra():
        from jgo.maven import MavenContext  # noqa: PLC0415  # only in pelton[local], and only when a jar is missing
    group, artifact, version = coordinate.split(":")
    context = MavenContext(repo_cache=scratch, timeout=_READ_TIMEOUT_S)
    return context.project(group, artifact).at_version(version).artifact().resolve()


def ensure_jars(
    cache: Path, *, pins: Pins | None = None, fetch: Fetch = fetch_from_maven, console: Console | None = None
) -> list[Path]:
    """The jars of Kafka's server, in the order of the pins; what is missing or damaged is fetched first.

    Processes that need the same jars at the same time fetch them once. Where `console` (standard error by default)
    is a terminal, it shows a progress bar.

    Raises `StackError` naming the artifact that cannot be had.
    """
    pins = pins or read_pins()
    folder = cache / "kafka" / pins.version
    if _missing(pins, folder):
        with local_extra():
            import filelock  # noqa: PLC0415  # only in pelton[local], and only when a jar is missing
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(folder.with_name(f"{pins.version}.lock"), timeout=_LOCK_TIMEOUT_S):
                _fetch_missing(pins, folder, fetch, console or Console(stderr=True))
        except filelock.Timeout as error:
            raise StackError(f"Another process has been fetching Kafka into {folder} for too long; end it.") from error
        except OSError as error:
            raise StackError(f"Cannot keep Kafka's jars in {folder}: {error}. Set {CACHE_VARIABLE}.") from error
    return [folder / jar.file_name for jar in pins.jars]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _missing(pins: Pins, folder: Path) -> list[Jar]:
    files = {jar: folder / jar.file_name for jar in pins.jars}
    return [jar for jar, path in files.items() if not path.is_file() or sha256(path) != jar.sha256]


def _fetch_missing(pins: Pins, folder: Path, fetch: Fetch, console: Console) -> None:
    missing = _missing(pins, folder)
    if not missing:  # another process has fetched them while this one waited for the lock
        return
    log.info("Fetching %d jars of Kafka %s into %s", len(missing), pins.version, folder)
    # What a killed process left; nobody else can be using it while we hold the lock.
    scratch = folder / "incoming"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        _fetch_all(missing, folder, scratch, fetch, _progress(console, f"Fetching Kafka {pins.version}"))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fetch_all(jars: Sequence[Jar], folder: Path, scratch: Path, fetch: Fetch, progress: Progress) -> None:
    with progress, ThreadPoolExecutor(_PARALLEL) as pool:
        fetching = [pool.submit(_fetch_one, jar, folder / jar.file_name, scratch, fetch) for jar in jars]
        try:
            for done in progress.track(as_completed(fetching), total=len(fetching)):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _fetch_one(jar: Jar, target: Path, scratch: Path, fetch: Fetch) -> None:
    reason = ""
    for _ in range(_ATTEMPTS):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            try:
                fetched = fetch(jar.coordinate, Path(folder))
                if sha256(fetched) == jar.sha256:
                    fetched.replace(target)
                    return
                reason = "its SHA-256 is not the pinned one"
            except (OSError, RuntimeError) as error:
                reason = str(error)
    raise StackError(
        f"Cannot fetch {jar.coordinate}, which Kafka needs: {reason}. Check the network and the proxy (HTTPS_PROXY),"
        " or point PELTON_KAFKA__BOOTSTRAP_SERVERS at a Kafka you already have."
    )


def _progress(console: Console, description: str) -> Progress:
    columns = (TextColumn(description), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
