"""The waiting line: the bounded queue that the event loop fills and the inference thread empties.

It is bounded twice, by requests and by tokens (prompt plus allowed new ones), so that what waits is bounded in memory
and in time to work off. Each priority has bounds of its own: what waits of one takes no room from
another, and those who wait for room are let in by priority, each in the order in which they came. The engine chooses
from it; it keeps no queue of its own.
"""

import asyncio
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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


@dataclass(slots=True, eq=False)
class _Entrant(Generic[Item]):
    """Waits for room in the line."""

    place: QueuedRequest[Item]


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
        self._entering: defaultdict[int, dict[_Entrant[Item], None]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def tokens(self) -> int:
        """Tokens that wait."""
        return self._tokens_of.total()

    def count(self, priority: int) -> int:
        """How many requests of a priority wait."""
        return self._counts[priority]

    def free_requests(self, priority: int = 0) -> int:
        """How many more requests of a priority may be fetched; 0 also while its tokens are used up."""
        is_used_up = self._tokens_of[priority] >= self.max_tokens
        return 0 if is_used_up else max(0, self.max_requests - self._counts[priority])

    def waiting(self) -> tuple[QueuedRequest[Item], ...]:
        """All that waits now, in the order of arrival."""
        with self._changed:
            return tuple(self._places)

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

        Who comes first of a priority gets room first: a large one would else wait for ever behind small ones, for which
        there is always room sooner.

        Raises `ValueError` for a request that could never fit.
        """
        if place.tokens > self.max_tokens:
            raise ValueError(f"{place.tokens} tokens never fit a line of {self.max_tokens}")
        if not self._entering[place.priority] and self._join(place, first=first):
            return True
        entrant = _Entrant(place)
        self._entering[place.priority][entrant] = None
        try:
            while not self._closed:
                self._room.clear()
                if self._is_next(entrant) and self._join(entrant.place, first=first):
                    return True
                await self._room.wait()
            return False
        finally:
            del self._entering[entrant.place.priority][entrant]
            self._room.set()  # it is another one's turn

    def raise_priority(self, item: Item, priority: int) -> None:
        """Have an item that waits, here or for room, wait with a higher priority; does nothing for one that does not.

        What is here stays, also where its new priority has no room: it took the room of another until now.
        """
        with self._changed:
            for index, place in enumerate(self._places):
                if place.item is item and place.priority < priority:
                    self._places[index] = replace(place, priority=priority)
                    self._count(place, -1)
                    self._count(self._places[index], +1)
                    self._changed.notify_all()
        below = [each for lower, waiting in self._entering.items() if lower < priority for each in waiting]
        for entrant in below:
            if entrant.place.item is item:
                del self._entering[entrant.place.priority][entrant]
                entrant.place = replace(entrant.place, priority=priority)
                self._entering[priority][entrant] = None
        self._room.set()

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

    def _is_next(self, entrant: _Entrant[Item]) -> bool:
        return next(iter(self._entering[entrant.place.priority])) is entrant

    def _count(self, place: QueuedRequest[Item], change: int) -> None:
        self._counts[place.priority] += change
        self._tokens_of[place.priority] += change * place.tokens

    def _remove(self, indexes: set[int]) -> list[QueuedRequest[Item]]:
        if not indexes:
            return []
        removed = [self._places[index] for index in sorted(indexes)]
        self._places = [place for index, place in enumerate(self._places) if index not in indexes]
        for place in removed:
            self._count(place, -1)
        # Whoever waits for room clears the event before looking for it, so one that is set has nobody waiting.
        if not self._room.is_set():
            self._loop.call_soon_threadsafe(self._room.set)
        return removed


def _timeout(moment: float | None) -> float | None:
    """Seconds from now to `moment`, within what a thread can wait."""
    return None if moment is None else min(max(0.0, moment - time.monotonic()), threading.TIMEOUT_MAX)
