"""What holds for all tests: kernels interpreted where there is no GPU, threads, signals, loggers; servers if asked."""

import ctypes
import gc
import importlib.util
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

try:
    ctypes.CDLL("libcuda.so.1")
except OSError:
    # Read when Triton is imported, so set before anything else is: where there is no GPU, its kernels run interpreted.
    os.environ["TRITON_INTERPRET"] = "1"

if side_by_side := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    # Threads of one computation wait for each other: where others take the cores, they are slower than one alone.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // int(side_by_side))))

# How long an example takes says more about the machine's other users than about the code. The same code is tested with
# the same examples: no change is refused for a fault that was there before. `make properties` looks for those.
hypothesis.settings.register_profile("same", deadline=None, derandomize=True)
hypothesis.settings.register_profile("new", deadline=None, print_blob=True)
hypothesis.settings.load_profile("same")

if all(importlib.util.find_spec(each) for each in ("docker", "testcontainers")):
    # A machine with a card may have nothing but what the engine needs, and its tests ask for no server.
    from tests.servers import kafka_bootstrap, pytest_sessionfinish, redis_url

    __all__ = ["kafka_bootstrap", "pytest_sessionfinish", "redis_url"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a script: what is ignored here would be ignored by the processes under test too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _loggers_of_libraries() -> Iterator[None]:
    """Commands that run in this process quieten them, for as long as they live: not for the tests that come after."""
    loggers = [logging.getLogger(name) for name in ("aiokafka", "asyncio")]
    before = [(logger.level, logger.propagate, logger.handlers[:]) for logger in loggers]
    yield
    for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.propagate, logger.handlers = propagate, handlers


_HERE = Path(__file__).parent
_WAITING = ("chaos", "e2e", "integration")
"""Folders of tests that mostly wait, for other processes and for time to pass; those in the others compute."""
_ENGINE = Path("unit/workers/engine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that wait and files that compute take turns: the processes of a run neither all wait nor all compute.

    The engine's come last: what they import and keep would be searched for garbage after each test that talks to Kafka.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path.relative_to(_HERE), []).append(item)
    engine = [path for path in files if path.is_relative_to(_ENGINE)]
    waiting = [path for path in files if path.parts[0] in _WAITING]
    computing = [path for path in files if path not in {*engine, *waiting}]
    turns = sorted((place / len(kind), path) for kind in (waiting, computing) for place, path in enumerate(kind))
    items[:] = [item for path in (*(path for _, path in turns), *engine) for item in files[path]]


def pytest_collection_finish() -> None:
    """What is imported by now stays: to look for garbage among it takes a quarter of a second each time."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """At its end the interpreter is to find all of it again."""
    gc.unfreeze()
