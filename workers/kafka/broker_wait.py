"""Waits for Kafka: a broker that is away may come back, a wrong setting stays wrong."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiokafka.errors import KafkaError

from pelton.pipeline.backoff import Backoff
from pelton.pipeline.kafka.causes import client_errors, is_cut_off, kafka_cause, may_pass
from pelton.pipeline.settings.kafka import KafkaSettings

log = logging.getLogger(__name__)

ATTEMPT_S = 30.0
RETRY_FIRST_S = 0.5
RETRY_MAX_S = 5.0
REMIND_S = 60.0
CUT_OFFS = 3
"""Connections closed in a row that are no chance any more: the port speaks another protocol."""


class KafkaUnusable(Exception):
    """Kafka cannot be used with these settings, however long one waits; the message names the setting."""


async def wait_for_broker(
    kafka: KafkaSettings,
    attempt: Callable[[], Awaitable[None]],
    stop: Callable[[], Awaitable[object]],
    remind_s: float = REMIND_S,
) -> bool:
    """Try `attempt` until it succeeds: True; or until `stop` returns: False.

    Raises `KafkaUnusable` for a cause that does not pass, and what else `attempt` raises.
    """
    with client_unheard():
        trying = asyncio.ensure_future(_until_there(kafka, attempt, remind_s))
        stopping = asyncio.ensure_future(stop())
        try:
            await asyncio.wait([trying, stopping], return_when=asyncio.FIRST_COMPLETED)
            if trying.done():
                await trying
                return True
            return False
        finally:
            for task in (trying, stopping):
                task.cancel()
            await asyncio.gather(trying, stopping, return_exceptions=True)


async def wait_while_away(
    kafka: KafkaSettings, attempt: Callable[[], Awaitable[None]], on_away: Callable[[], None]
) -> None:
    """Try `attempt` until it succeeds; `on_away` is called when it has failed. Raises `KafkaUnusable`."""
    with client_unheard():
        await _until_there(kafka, attempt, REMIND_S, on_away)


async def _until_there(
    kafka: KafkaSettings,
    attempt: Callable[[], Awaitable[None]],
    remind_s: float,
    on_away: Callable[[], None] = lambda: None,
) -> None:
    backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
    since = time.monotonic()
    said: float | None = None
    cut_offs = 0
    while True:
        with client_errors() as logged:
            try:
                async with asyncio.timeout(ATTEMPT_S):
                    await attempt()
            except (KafkaError, OSError) as error:  # a time-out is an OSError
                cause = kafka_cause(kafka, error, logged)
                cut_offs = cut_offs + 1 if is_cut_off(error, logged) else 0
                # Nothing is said of the first: they lead to an error, or to a broker that is away.
                if cut_offs == CUT_OFFS or not may_pass(error, logged):
                    raise KafkaUnusable(cause) from error
            else:
                break
        on_away()
        now = time.monotonic()
        if not cut_offs and (said is None or now - said >= remind_s):
            log.warning("waiting for Kafka%s. %s", "" if said is None else f" for {now - since:.0f} s", cause)
            said = now
        await asyncio.sleep(backoff.next_s())
    if said is not None:
        log.info("Kafka at %s is there after %.0f s", kafka.bootstrap_servers, time.monotonic() - since)


@contextmanager
def client_unheard() -> Iterator[None]:
    """Our line says what the client's many would, which are shown only where INFO of libraries is (`--verbose`).

    A client that could not connect also leaves a future unread, which asyncio would report with a traceback.
    """
    client, loop = logging.getLogger("aiokafka"), logging.getLogger("asyncio")
    propagate, level = client.propagate, loop.level
    client.propagate = client.isEnabledFor(logging.INFO)
    nowhere = logging.NullHandler()  # without any handler Python would print the client's warnings as they are
    client.addHandler(nowhere)
    loop.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        client.removeHandler(nowhere)
        client.propagate = propagate
        loop.setLevel(level)
