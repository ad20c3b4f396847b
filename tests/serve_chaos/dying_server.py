"""`pelton serve` that kills or freezes itself at a point: `python -m tests.serve_chaos.dying_server NUMBER`."""

import importlib
import inspect
import itertools
import os
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from pelton.cli import app
from pelton.producers.http.batches import run
from tests.serve_chaos.points import POINTS, Point

OFTEN_S = 0.2
"""Results are saved so often that a short batch is saved several times."""


def armed(original: Callable[..., Any], point: Point) -> Callable[..., Any]:
    """`original`, until the call at which this process is to end."""
    calls = itertools.count(1)

    def strike(number: int, *, after: bool) -> None:
        if number == point.call and after == point.after:
            os.kill(os.getpid(), point.signal)

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        number = next(calls)
        strike(number, after=False)
        result = await original(*args, **kwargs)
        strike(number, after=True)
        return result

    def called(*args: Any, **kwargs: Any) -> Any:
        number = next(calls)
        strike(number, after=False)
        result = original(*args, **kwargs)
        strike(number, after=True)
        return result

    return awaited if inspect.iscoroutinefunction(original) else called


def main(number: int) -> None:
    point = POINTS[number - 1]
    module, _, path = point.target.partition(":")
    holder: Any = importlib.import_module(module)
    *inside, name = path.split(".")
    for each in inside:
        holder = getattr(holder, each)
    often = patch.multiple(run, SAVE_S=OFTEN_S, TICK_S=OFTEN_S)
    with often, patch.object(holder, name, armed(getattr(holder, name), point)):
        app(["serve"])


if __name__ == "__main__":
    main(int(sys.argv[1]))
