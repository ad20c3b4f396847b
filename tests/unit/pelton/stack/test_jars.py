"""The pinned jars: nothing with a wrong checksum is ever used, and nothing is fetched twice."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.stack.errors import StackError
from pelton.stack.jars import Jar, Pins, ensure_jars, read_pins
from pelton.stack.repin import _as_toml

CONTENTS = {"org.one:alpha:1.0": b"alpha's bytes", "org.two:beta:2.1": b"beta's bytes"}
PINS = Pins("9.9.9", tuple(Jar(name, hashlib.sha256(bytes_).hexdigest()) for name, bytes_ in CONTENTS.items()))


class Repository:
    """Serves what `answers` holds for a coordinate, one item per request and the last one for ever."""

    def __init__(self, **answers: list[bytes | Exception]) -> None:
        self.answers = answers
        self.requests: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, coordinate: str, scratch: Path) -> Path:
        with self._lock:
            self.requests.append(coordinate)
            queue = self.answers.get(coordinate.split(":")[1], [CONTENTS[coordinate]])
            answer = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(answer, Exception):
            raise answer
        path = scratch / "fetched.jar"
        path.write_bytes(answer)
        return path


def test_everything_missing_is_fetched_once(tmp_path: Path) -> None:
    """The first call fetches each jar, the second none, and both return the same files in the pins' order."""
    repository = Repository()
    jars = ensure_jars(tmp_path, pins=PINS, fetch=repository)
    assert [jar.name for jar in jars] == ["alpha-1.0.jar", "beta-2.1.jar"]
    assert [jar.read_bytes() for jar in jars] == list(CONTENTS.values())
    assert ensure_jars(tmp_path, pins=PINS, fetch=repository) == jars
    assert sorted(repository.requests) == sorted(CONTENTS)


def test_a_truncated_jar_in_the_cache_is_replaced(tmp_path: Path) -> None:
    """A file cut short, as a full disk leaves it, is fetched again; the good one beside it is not."""
    damaged, _ = ensure_jars(tmp_path, pins=PINS, fetch=Repository())
    damaged.write_bytes(damaged.read_bytes()[:5])
    repository = Repository()
    ensure_jars(tmp_path, pins=PINS, fetch=repository)
    assert damaged.read_bytes() == CONTENTS["org.one:alpha:1.0"]
    assert repository.requests == ["org.one:alpha:1.0"]


@pytest.mark.parametrize("first", [b"alph", ConnectionResetError("reset by peer")])
def test_one_bad_download_is_repeated(tmp_path: Path, first: bytes | Exception) -> None:
    """A truncated download or a broken connection costs one more request, and the result is the pinned file."""
    repository = Repository(alpha=[first, b"alpha's bytes"])
    assert ensure_jars(tmp_path, pins=PINS, fetch=repository)[0].read_bytes() == b"alpha's bytes"
    assert repository.requests.count("org.one:alpha:1.0") == 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"someone else's bytes", "its SHA-256 is not the pinned one"),
        (ConnectionError("no route to host"), "no route to host"),
        (RuntimeError("not found in remote repositories"), "not found in remote repositories"),
    ],
)
def test_the_error_names_the_artifact_the_reason_and_the_way_out(
    tmp_path: Path, answer: bytes | Exception, reason: str
) -> None:
    """After two attempts it gives up, and no wrong file is left in the cache."""
    repository = Repository(beta=[answer])
    with pytest.raises(StackError) as raised:
        ensure_jars(tmp_path, pins=PINS, fetch=repository)
    for part in ("org.two:beta:2.1", reason, "HTTPS_PROXY", "PELTON_KAFKA__BOOTSTRAP_SERVERS"):
        assert part in str(raised.value)
    assert repository.requests.count("org.two:beta:2.1") == 2
    assert not list(tmp_path.rglob("*beta*"))
    assert not list(tmp_path.rglob("fetched.jar"))


def test_two_at_once_fetch_each_jar_once(tmp_path: Path) -> None:
    """Whoever comes second waits for the lock and finds everything there."""
    repository = Repository()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: ensure_jars(tmp_path, pins=PINS, fetch=repository), range(4)))
    assert all(result == results[0] for result in results)
    assert sorted(repository.requests) == sorted(CONTENTS)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where the folder should be: the message names the path and the variable that moves it."""
    (tmp_path / "kafka").write_text("in the way")
    with pytest.raises(StackError, match=r"9\.9\.9: .*PELTON_CACHE_DIR"):
        ensure_jars(tmp_path, pins=PINS, fetch=Repository())


def test_the_committed_pins_are_a_kafka_with_one_matching_logging_backend() -> None:
    """Sorted, no artifact twice, and the backend has the version of the facade: another one would log nothing."""
    pins = read_pins()
    coordinates = [jar.coordinate for jar in pins.jars]
    versions = {coordinate.split(":")[1]: coordinate.split(":")[2] for coordinate in coordinates}
    assert coordinates == sorted(coordinates)
    assert len(versions) == len(coordinates)
    assert versions["kafka_2.13"] == pins.version
    assert versions["slf4j-simple"] == versions["slf4j-api"]


names = st.from_regex(r"[a-z][a-z0-9.-]{0,12}", fullmatch=True)
jars = st.builds(
    lambda *parts: Jar(":".join(parts[:3]), parts[3]),
    names,
    names,
    names,
    st.from_regex("[0-9a-f]{64}", fullmatch=True),
)


@given(st.builds(Pins, names, st.lists(jars, max_size=4).map(tuple)))
def test_written_pins_are_read_back(tmp_path_factory: pytest.TempPathFactory, pins: Pins) -> None:
    """What `repin` writes, `read_pins` understands."""
    path = tmp_path_factory.mktemp("pins") / "pins.toml"
    path.write_text(_as_toml(pins), "utf-8")
    assert read_pins(path) == pins
