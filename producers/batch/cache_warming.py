"""Warming the cache: the workers answer the requests of a batch file, and nobody keeps the answers here."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire import contract
from pelton.producers.batch.file import read_requests, survey
from pelton.producers.batch.submit import Progress
from pelton.producers.client import InferenceClient
from pelton.producers.errors import NoProgress, ReplyError
from pelton.producers.flow import ProgressTimeout
from pelton.producers.replies import INVALID_REPLY, Reply

NOT_CACHED = "not-cached"
"""The answer did not say where it came from: no worker keeps it."""


@dataclass(slots=True)
class WarmingCounts:
    """Requests by what became of them: answers by their reply header `pelton-cache`, errors by code."""

    requests: int
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, reply: Reply) -> None:
        try:
            error = reply.error
        except ReplyError:
            self.failures[INVALID_REPLY] += 1
            return
        if error is not None:
            self.failures[error.code or INVALID_REPLY] += 1
        else:
            self.outcomes[reply.headers.get(contract.CACHE, NOT_CACHED.encode()).decode("utf-8", "replace")] += 1

    def progress(self, in_flight: int) -> Progress:
        return Progress(self.requests, self.outcomes.total(), self.failures.total(), in_flight)


async def warm(  # noqa: PLR0913  # the command passes each of these options on
    kafka: KafkaSettings,
    source: Path,
    *,
    tenant: str | None,
    max_in_flight: int,
    timeout_s: float | None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> WarmingCounts:
    """Send every line of `source` and count the replies.

    `timeout_s` is how long it waits without any reply; None: for ever. Raises `BatchError`, `NoProgress`, and what the
    client raises.
    """
    tally = WarmingCounts((await asyncio.to_thread(survey, source)).requests)
    in_flight = 0

    def bodies() -> Iterator[bytes]:
        nonlocal in_flight
        for line in read_requests(source):
            if line.fault is not None:
                tally.failures[line.fault.code] += 1
            else:
                in_flight += 1
                yield line.body

    try:
        async with (
            ProgressTimeout(timeout_s) as patience,
            InferenceClient(kafka) as client,
            aclosing(client.submit_many(bodies(), max_in_flight=max_in_flight, tenant=tenant)) as replies,
        ):
            async for reply in replies:
                in_flight -= 1
                tally.add(reply)
                patience.progress()
                on_progress(tally.progress(in_flight))
    except TimeoutError:
        raise NoProgress(
            f"No reply for {timeout_s:g} s: is a worker running, and is Kafka up? What was answered is cached; run the "
            "same command again for the rest."
        ) from None
    return tally
