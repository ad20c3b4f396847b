"""One voice about a broker that is away.

A worker has a dozen Kafka clients, and each part that uses one notices an outage by itself. What they say of Kafka is
held back until it is known whether the broker answers at all: if it does, their lines are shown; if not, they are
dropped, and one line says that it is away, one a minute that it still is, and one that it is back.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient

from pelton.pipeline.kafka.clients import close_client, start_client
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.workers.kafka.broker_wait import KafkaUnusable, wait_while_away
from pelton.workers.notices import about_kafka

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How long lines are held before the broker is asked: one that is going down may still answer."""
SETTLE_S = 15.0
"""How long after an outage its consequences may last: members rejoin the group and partitions are taken over anew."""
MAX_HELD = 100
"""Lines; past this the oldest are dropped."""


class OutageFilter(logging.Filter):
    """Holds back what is about Kafka until `release` or `drop`. Belongs on the root logger's handlers."""

    def __init__(self, handlers: list[logging.Handler], on_trouble: Callable[[], None]) -> None:
        super().__init__()
        self._handlers = handlers
        self._on_trouble = on_trouble
        self._held: deque[logging.LogRecord] = deque(maxlen=MAX_HELD)
        self._dropped: set[object] = set()
        self._showing = False

    def filter(self, record: logging.LogRecord) -> bool:
        if self._showing or not about_kafka(record):
            return True
        if not (self._held and self._held[-1] is record):  # another handler has held it
            self._held.append(record)
            self._on_trouble()
        return False

    def release(self) -> None:
        """Show what is held."""
        self._showing = True
        try:
            while self._held:
                self._show(self._held.popleft())
        finally:
            self._showing = False

    def drop(self) -> None:
        """Forget what is held. What it said was in the way is not said to be over later on."""
        while self._held:
            record = self._held.popleft()
            if (notice := getattr(record, "notice", None)) is not None:
                self._dropped.add(notice)

    def _show(self, record: logging.LogRecord) -> None:
        notice = getattr(record, "notice", None)
        if notice in self._dropped:
            self._dropped.discard(notice)
            if getattr(record, "over", False):
                return
        for handler in self._handlers:
            if record.levelno >= handler.level:
                handler.handle(record)


class BrokerWatch:
    """Finds out, whenever there is trouble, whether it is the broker's."""

    def __init__(
        self, kafka: KafkaSettings, attempt: Callable[[], Awaitable[None]], on_away: Callable[[bool], None]
    ) -> None:
        """`attempt` raises where the broker does not answer; `on_away` hears that it is away, and that it is back."""
        self._kafka = kafka
        self._attempt = attempt
        self._on_away = on_away
        self._trouble = asyncio.Event()
        self._away = False
        self._loop = asyncio.get_running_loop()
        self.filter = OutageFilter(logging.getLogger().handlers, self._note_trouble)

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            await self._trouble.wait()
            await asyncio.sleep(LOOK_S)
            try:
                await wait_while_away(self._kafka, self._attempt, self._note_away)
            except KafkaUnusable as error:
                log.error("Kafka refuses this worker: %s", error)  # noqa: TRY400  # the sentence has the cause
            self._on_away(False)
            if self._away:
                await asyncio.sleep(SETTLE_S)
            self.settle()
            self._trouble.clear()

    def settle(self) -> None:
        """Drop what was said of an outage, or show what was no such thing."""
        if self._away:
            self.filter.drop()
        else:
            self.filter.release()
        self._away = False

    def _note_trouble(self) -> None:
        """Lines come from any thread."""
        self._loop.call_soon_threadsafe(self._trouble.set)

    def _note_away(self) -> None:
        self._away = True
        self._on_away(True)


@asynccontextmanager
async def one_voice(kafka: KafkaSettings, on_away: Callable[[bool], None]) -> AsyncIterator[None]:
    """While inside, each outage is logged once, and `on_away` hears of its beginning and its end."""

    async def attempt() -> None:
        admin = AIOKafkaAdminClient(**kafka.client_options())
        try:
            await start_client(admin)
        finally:
            await close_client(admin)

    watch = BrokerWatch(kafka, attempt, on_away)
    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(watch.filter)
    task = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for handler in handlers:
            handler.removeFilter(watch.filter)
        watch.settle()
