"""Follows the reply topic while a run goes on, to know how far it has come. The verdict does not rest on it."""

import asyncio
import logging
from typing import Any

from aiokafka.errors import KafkaError

from pelton.pipeline.settings.kafka import KafkaSettings
from tests.chaos.logs import POLL_MS, lag, reader, reply

log = logging.getLogger(__name__)

LOOK_S = 1.0


class Follower:
    """Which requests have a committed reply by now."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
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

    async def wait_until_settled(self, patience_s: float) -> bool:
        """Wait until the group has committed all requests; False when nothing has moved for `patience_s`."""
        quiet_s, before = 0.0, await self._standing()
        while any(before[1].values()):
            await asyncio.sleep(LOOK_S)
            now = await self._standing()
            quiet_s = 0.0 if now != before else quiet_s + LOOK_S
            before = now
            if quiet_s >= patience_s:
                return False
        return True

    async def _standing(self) -> tuple[int, dict[str, int]]:
        return self.replies, await lag(self._kafka)

    def _take(self, records: list[Any]) -> None:
        if records:
            self.replies += len(records)
            self.answered.update(reply(record).source for record in records)
