"""What a command waits for, said while it waits: at once on a terminal, else after a while and then seldom."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

from pelton.commands.common import stderr
from pelton.pipeline.outside_text import escaped
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.errors import ProducerError
from pelton.producers.kafka.group_state import group_state

FIRST_S = 3.0
EVERY_S = 15.0
LOOK_S = 5.0
"""How long the broker may take to say who works: a command that waits must not wait for that."""

Say = Callable[[str], None]


class Waiting:
    """Looks at the workers' group when nothing has moved for a while, and says what it sees."""

    def __init__(self, kafka: KafkaSettings, say: Say, *, first_s: float = FIRST_S, every_s: float = EVERY_S) -> None:
        self._kafka = kafka
        self._say = say
        self._first_s = first_s
        self._every_s = every_s
        self._moved = asyncio.Event()

    def moved(self) -> None:
        """Something came: nothing is to be said for a while."""
        self._moved.set()

    async def run(self) -> None:
        """Until cancelled."""
        pause_s = self._first_s
        while True:
            self._moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._moved.wait()
            pause_s = self._first_s if self._moved.is_set() else self._every_s
            if not self._moved.is_set():
                self._say(await self._state())

    async def _state(self) -> str:
        try:
            async with asyncio.timeout(LOOK_S):
                return str(await group_state(self._kafka, self._kafka.request_topics[0]))
        except (ProducerError, TimeoutError) as error:
            return f"who works on it cannot be seen ({error or 'Kafka does not answer'})"


@contextlib.asynccontextmanager
async def waiting(kafka: KafkaSettings, say: Say) -> AsyncIterator[Waiting]:
    """Say what is waited for while the body runs; it calls `moved` with every sign of progress."""
    teller = Waiting(kafka, say)
    task = asyncio.create_task(teller.run())
    try:
        yield teller
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.contextmanager
def spoken(what: str) -> Iterator[Say]:
    """Yields what says a state of waiting for `what`: in a line that changes on a terminal, else in lines."""
    if not stderr.is_terminal:
        yield say_line
        return
    with stderr.status(f"{what} ...") as status:
        yield lambda text: status.update(escaped(f"{what}: {text}").replace("[", r"\["))


def say_line(text: str) -> None:
    stderr.print(f"Waiting: {escaped(text)}.", markup=False, highlight=False, soft_wrap=True)
