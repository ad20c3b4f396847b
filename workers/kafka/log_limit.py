"""aiokafka logs each attempt of each retry, hundreds a second: of each of its messages one is let through at a time."""

import logging
import time

EVERY_S = 30.0
_LOGGERS = (
    "aiokafka",
    "aiokafka.client",
    "aiokafka.cluster",
    "aiokafka.conn",
    "aiokafka.consumer.consumer",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
    "aiokafka.producer.message_accumulator",
    "aiokafka.producer.producer",
    "aiokafka.producer.sender",
)


_USUAL = ("Heartbeat failed for group %s because it is rebalancing",)
"""Warnings of what is no trouble: members join and leave. Shown where INFO of libraries is."""


class OnceInAWhile(logging.Filter):
    """Lets a message pass if one of the same logger and wording did not in the last `EVERY_S` seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._next: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.INFO:
            return True
        if record.msg in _USUAL and not logging.getLogger(record.name).isEnabledFor(logging.INFO):
            return False
        wording, now = (record.name, str(record.msg)), time.monotonic()
        if now < self._next.get(wording, 0.0):
            return False
        self._next[wording] = now + EVERY_S
        return True


def limit_logs() -> None:
    """For this process, from now on. A filter holds for its own logger only, so each has it."""
    once_in_a_while = OnceInAWhile()
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(once_in_a_while)
