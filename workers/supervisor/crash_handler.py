"""What a parent does when a worker has crashed: first it writes down whom to suspect, then it frees the partitions."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiokafka.errors import KafkaError

from pelton.pipeline.backoff import Backoff
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.workers.kafka.remove_members import remove_members
from pelton.workers.quarantine.suspects import publish_suspects
from pelton.workers.supervisor.replica import Crash

log = logging.getLogger(__name__)

REPORT_S = 60.0
"""How long a restart may wait for the suspects to be written down. Without that, the search starts over each time."""
EVICT_S = 10.0
RETRY_FIRST_S = 0.2
RETRY_MAX_S = 5.0


def crash_handler(kafka: KafkaSettings) -> Callable[[Crash], Awaitable[None]]:
    """The pool's `on_crash`. The order matters: whoever gets the partitions next must find the suspicions there."""

    async def follow_up(crash: Crash) -> None:
        if crash.in_engine:
            await _write_down(kafka, crash)
        await _free_partitions(kafka, crash)

    return follow_up


async def _write_down(kafka: KafkaSettings, crash: Crash) -> None:
    suspects = {entry.source: entry.blame.after_crash(len(crash.in_engine)) for entry in crash.in_engine}
    backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
    try:
        async with asyncio.timeout(REPORT_S):
            while True:
                try:
                    return await publish_suspects(kafka, suspects)
                except (KafkaError, OSError) as error:
                    log.warning("suspects cannot be written to topic %s: %r", kafka.suspects_topic, error)
                await asyncio.sleep(backoff.next_s())
    except TimeoutError:
        log.error(  # noqa: TRY400  # the time that ran out explains nothing
            "%d suspects were not written down: a request among them that ends workers will be run with others again. "
            "See that topic %s exists and may be written to",
            len(suspects),
            kafka.suspects_topic,
        )


async def _free_partitions(kafka: KafkaSettings, crash: Crash) -> None:
    try:
        async with asyncio.timeout(EVICT_S):
            await remove_members(kafka, crash.identity)
    except (KafkaError, OSError, TimeoutError) as error:
        log.warning("the dead worker's partitions move only after the session time-out: %r", error)
