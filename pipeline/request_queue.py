"""The waiting line: the bounded queue that the event loop fills and the inference thread empties.

It is bounded twice, by requests and by tokens (prompt plus allowed new ones), so that what waits is bounded in memory
and in time to work off. Each priority has bounds of its own: what waits of one takes no room from
another. The engine chooses from it; it keeps no queue of its own.
"""

import asyncio
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Chosen = tuple[Sequence[int], float | None]
"""Indexes into what waits, and when to look again if nothing new arrives (`time.monotonic`; None: never)."""


@dataclass(frozen=True, slots=True)
class QueuedRequest(Generic[Item]):
    """One request in the line. `since` is when it joined (`time.monotonic`); the higher its `priority`, the sooner it
    goes.
    """

    item: Item
    prompt_tokens: int
    max_new_tokens: int
    since: float
    priority: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.max_new_tokens


class RequestQueue(Generic[Item]):
    """Filled on one event loop by `put`, emptied on one thread by `take`. Must be made on that loop."""

    def __init__(self, *, max_tokens: int, max_requests: int) -> None:
        self.max_tokens = max_tokens
        self.max_requests = max_requests
        self._places: list[QueuedRequest[Item]] = []
        self._counts: Counter[int] = Counter()
        self._tokens_of: Counter[int] = Counter()
        self._closed = False
        self._changed = threading.Condition()
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._one_at_a_time: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def tokens(self) -> int:
        """Tokens that wait."""
        return self._tokens_of.total()

    def free_requests(self, priority: int = 0) -> int:
        """How many more requests of a priority may be fetched; 0 also while its tokens are used up."""
        return 0 if self._tokens_of[priority] >= self.max_tokens else self.max_requests - self._counts[priority]

    def longest_wait(self, now: float) -> float:
        """Seconds that the request at the line's head has waited by `now` (`time.monotonic`); 0 where none waits."""
        with self._changed:
            return now - self._places[0].since if self._places else 0.0

    async def wait_for_room(self, priority: int = 0) -> int:
        """Wait until at least one more request of a priority may be fetched; return how many may."""
        while not (free := self.free_requests(priority)):
            self._room.clear()
            if not self.free_requests(priority):  # it may have been emptied between the look and the clear
                await self._room.wait()
        return free

    async def put(self, place: QueuedRequest[Item], *, first: bool = False) -> bool:
        """Join the line at its end, or its front, waiting for room; False when it has closed.

        Who comes first gets room first: a large one would else wait for ever behind small ones, for which there is
        always room sooner.

        Raises `ValueError` for a request that could never fit.
        """
        if place.tokens > self.max_tokens:
            raise ValueError(f"{place.tokens} tokens never fit a line of {self.max_tokens}")
        async with self._one_at_a_time[place.priority]:
            while not self._closed:
                self._room.clear()
                if self._join(place, first=first):
                    return True
                await self._room.wait()
            return False

    def notify(self) -> None:
        """Have `take` choose again: something outside the line has changed."""
        with self._changed:
            self._changed.notify_all()

    def take(
        self, choose: Callable[[Sequence[QueuedRequest[Item]]], Chosen], *, block: bool
    ) -> list[QueuedRequest[Item]]:
        """Remove and return what `choose` picks; with `block` wait for a pick, else return [] at once for none.

        Returns [] when the line has closed.
        """
        with self._changed:
            while not self._closed:
                indexes, look_again = choose(self._places) if self._places else ((), None)
                if indexes or not block:
                    return self._remove(set(indexes))
                self._changed.wait(_timeout(look_again))
            return []

    def remove_if(self, unwanted: Callable[[QueuedRequest[Item]], bool]) -> list[QueuedRequest[Item]]:
        """Remove and return every place that is unwanted, as when another worker generates its answer."""
        with self._changed:
            return self._remove({index for index, place in enumerate(self._places) if unwanted(place)})

    def close(self) -> list[QueuedRequest[Item]]:
        """Let nothing more in or out; return what still waited."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return self._remove(set(range(len(self._places))))

    def _join(self, place: QueuedRequest[Item], *, first: bool) -> bool:
        tokens, priority = place.tokens, place.priority
        with self._changed:
            is_full = self._counts[priority] >= self.max_requests
            if self._closed or is_full or self._tokens_of[priority] + tokens > self.max_tokens:
                return False
            self._places.insert(0 if first else len(self._places), place)
            self._counts[priority] += 1
            self._tokens_of[priority] += tokens
            self._changed.notify_all()
            return True

    def _remove(self, indexes: set[int]) -> list[QueuedRequest[Item]]:
        if not indexes:
            return []
        removed = [self._places[index] for index in sorted(indexes)]
        self._places = [place for index, place in enumerate(self._places) if index not in indexes]
        for place in removed:
            self._counts[place.priority] -= 1
            self._tokens_of[place.priority] -= place.tokens
        # Whoever waits for room clears the event before looking for it, so one that is set has nobody waiting.
        if not self._room.is_set():
            self._loop.call_soon_threadsafe(self._room.set)
        return removed


def _timeout(moment: float | None) -> float | None:
    """Seconds from now to `moment`, within what a thread can wait."""
    return None if moment is None else min(max(0.0, moment - time.monotonic()), threading.TIMEOUT_MAX)
