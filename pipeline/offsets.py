"""Which of a partition's records are answered, and how far it may be committed."""

from collections import deque


class OffsetTracker:
    """One partition's open records, for one stretch of owning it.

    Requests finish out of order; the position to commit is the lowest offset not yet completed, or one past the highest
    admitted when none is open. Offsets need not be consecutive: transactions and compaction leave holes.
    """

    def __init__(self) -> None:
        self._admitted: deque[int] = deque()
        self._open: set[int] = set()
        self._next = 0
        self._committed: int | None = None

    @property
    def open(self) -> int:
        """How many admitted records are not completed."""
        return len(self._open)

    @property
    def position(self) -> int | None:
        """The offset to commit, from which a successor would read; None before anything was admitted."""
        if self._admitted:
            return self._admitted[0]
        return self._next or None

    @property
    def uncommitted(self) -> int | None:
        """The position when it has moved since the last `mark_committed`, else None."""
        position = self.position
        return position if position != self._committed else None

    def admit(self, offset: int) -> bool:
        """Open a record; False for one already seen, as after a rebalance has rewound the consumer."""
        if offset < self._next:
            return False
        self._admitted.append(offset)
        self._open.add(offset)
        self._next = offset + 1
        return True

    def complete(self, offset: int) -> None:
        """Close a record. Raises `ValueError` for one that is not open."""
        if offset not in self._open:
            raise ValueError(f"offset {offset} is not open")
        self._open.remove(offset)
        while self._admitted and self._admitted[0] not in self._open:
            self._admitted.popleft()

    def mark_committed(self, position: int) -> None:
        self._committed = position
