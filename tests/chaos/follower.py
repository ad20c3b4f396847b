"""Follows the reply topic while a run goes on, to know how far it has come. The verdict does not rest on it."""

import asyncio
import logging
from collections.abc import Collection
from typing import Any

from aiokafka.errors import KafkaError

from pelton.pipeline.settings.kafka import KafkaSettings
from tests.chaos.logs import POLL_MS, lag, reader, reply

log = logging.getLogger(__name__)

LOOK_S = 5.0
"""After so long without a reply it is asked whether the group still owes any."""


class Follower:
    """Which requests have a committed reply by now."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._arrived = asyncio.Event()
        self.answered: set[str] = set()
        self.replies = 0

    async def run(self) -> None:
        """Read until cancelled."""
        async with reader(self._kafka, self._kafka.reply_topic, "read_committed") as consumer:
            while True:
                try:
                    fetched = await consumer.getmany(timeout_ms=POLL_MS)
                except KafkaError as error:
                    log.warning("the replies cannot be followed for the moment: %r", error)
                    await asyncio.sleep(POLL_MS / 1000)
                else:
                    self._take([record for records in fetched.values() for record in records])

    async def wait_for(self, sources: Collection[str], patience_s: float) -> bool:
        """Wait until all `sources` are answered; False when no reply has come for `patience_s`, or none is to come."""
        quiet_s = 0.0
        while not self.answered.issuperset(sources):
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), LOOK_S)
                quiet_s = 0.0
            except TimeoutError:
                quiet_s += LOOK_S
                if quiet_s >= patience_s or not any((await lag(self._kafka)).values()):
                    return False
        return True

    def _take(self, records: list[Any]) -> None:
        if records:
            self.replies += len(records)
            self.answered.update(reply(record).source for record in records)
            self._arrived.set()
