"""A worker that kills or freezes itself at one moment of its first delivery: `python saboteur.py MOMENT SIGNAL`.

The moments are the edges between which a crash could lose or repeat an answer. The signal is KILL or STOP.
"""

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaProducer

from pelton.logs import configure_logging
from pipeline.settings import load_settings
from workers import intake, publisher
from workers.service import serve


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


def sabotage(moment: str, act: Callable[[], None]) -> None:
    """Lay the trap."""
    match moment:
        case "after-fetch":
            intake.prepare = before(intake.prepare, act)
        case "after-generation":
            publisher.Packer.pack = before(publisher.Packer.pack, act)
        case "after-send":
            AIOKafkaProducer.send_offsets_to_transaction = before(AIOKafkaProducer.send_offsets_to_transaction, act)
        case "before-commit":
            AIOKafkaProducer.commit_transaction = before(AIOKafkaProducer.commit_transaction, act)
        case "after-commit":
            AIOKafkaProducer.commit_transaction = after(AIOKafkaProducer.commit_transaction, act)
        case _:
            sys.exit(f"no such moment: {moment}")


def main() -> None:
    moment, name = sys.argv[1:]
    armed = [signal.Signals[f"SIG{name}"]]

    def strike_once() -> None:
        if armed:
            os.kill(os.getpid(), armed.pop())

    configure_logging(verbose=False)
    sabotage(moment, strike_once)
    asyncio.run(serve(load_settings()))


if __name__ == "__main__":
    main()
