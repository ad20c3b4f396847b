"""How many workers the group has, for their parts of quotas."""

from collections import deque


class GroupSize:
    """One that has left may have given its part just now: it counts until that has left the window."""

    def __init__(self, leaves_s: float) -> None:
        """`leaves_s` is how long what was given counts."""
        self._leaves_s = leaves_s
        self._counts: deque[tuple[float, int]] = deque()

    def counted(self, workers: int, now: float) -> None:
        """There were so many just now, in seconds on a monotonic clock."""
        while self._counts and self._counts[-1][1] <= workers:
            self._counts.pop()
        self._counts.append((now, workers))

    def most(self, now: float) -> int:
        """The largest number that counts: the newest, or one that was seen within the time before."""
        while len(self._counts) > 1 and self._counts[0][0] < now - self._leaves_s:
            self._counts.popleft()
        return max(1, self._counts[0][1]) if self._counts else 1
