"""A worker that kills or freezes itself at one moment of a delivery: `python saboteur.py MOMENT SIGNAL [DELIVERY]`.

The moments are the edges between which a crash could lose or repeat an answer. The signal is KILL or STOP. It strikes
when the moment comes for the first time, or as often as DELIVERY says.
"""

import asyncio
import functools
import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaProducer

from pelton.logs import configure_logging
from pelton.pipeline.settings.loading import load_settings
from pelton.workers.delivery import reply_builder
from pelton.workers.intake import admission
from pelton.workers.process import serve


def before(function: Callable[..., Any], act: Callable[[], None]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        act()
        return function(*arguments, **options)

    return wrapped


def after(function: Callable[..., Any], act: Callable[[], None]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapped(*arguments: Any, **options: Any) -> Any:
        result = await function(*arguments, **options)
        act()
        return result

    return wrapped


def _strike_before(owner: Any, name: str, act: Callable[[], None]) -> None:
    setattr(owner, name, before(getattr(owner, name), act))


def sabotage(moment: str, act: Callable[[], None]) -> None:
    """Lay the trap."""
    match moment:
        case "after-fetch":
            _strike_before(admission, "make_drafts", act)
        case "after-generation":
            _strike_before(reply_builder.ReplyBuilder, "pack", act)
        case "after-send":
            _strike_before(AIOKafkaProducer, "send_offsets_to_transaction", act)
        case "before-commit":
            _strike_before(AIOKafkaProducer, "commit_transaction", act)
        case "after-commit":
            AIOKafkaProducer.commit_transaction = after(AIOKafkaProducer.commit_transaction, act)
        case _:
            sys.exit(f"no such moment: {moment}")


def main() -> None:
    moment, name, *delivery = sys.argv[1:]
    to_come = itertools.count(1 - int(delivery[0]) if delivery else 0)

    def strike_once() -> None:
        if next(to_come) == 0:
            os.kill(os.getpid(), signal.Signals[f"SIG{name}"])

    configure_logging(verbose=False)
    sabotage(moment, strike_once)
    asyncio.run(serve(load_settings()))


if __name__ == "__main__":
    main()
