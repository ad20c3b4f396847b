"""What a part of the worker waits for is said once, and again each minute while it lasts: not at every attempt."""

import logging
import time

REPEAT_S = 60.0
ABOUT_KAFKA = {"about_kafka": True}
"""`extra` of a log line about trouble with Kafka: left out where the broker is away, which is said once for all."""


def about_kafka(record: logging.LogRecord) -> bool:
    """Whether a line is about trouble with Kafka, in our words or in its client's."""
    return getattr(record, "about_kafka", False) or (
        record.name.partition(".")[0] == "aiokafka" and record.levelno >= logging.WARNING
    )


class Notice:
    """One thing that may be in the way. Says so when it begins or changes, once a minute, and when it is over."""

    def __init__(self, log: logging.Logger, level: int = logging.WARNING) -> None:
        self._log = log
        self._level = level
        self._said: str | None = None
        self._next = 0.0

    def say(self, message: str, *args: object) -> None:
        """Say what is in the way, unless that was just said."""
        told = message % args
        if told != self._said or time.monotonic() >= self._next:
            self._log.log(self._level, "%s", told, extra=ABOUT_KAFKA | {"notice": id(self)})
            self._said, self._next = told, time.monotonic() + REPEAT_S

    def over(self, message: str, *args: object) -> None:
        """Say that it is over, if anything was said."""
        if self._said is not None:
            self._said = None
            self._log.log(self._level, message, *args, extra=ABOUT_KAFKA | {"notice": id(self), "over": True})
