"""The prefix cache as sequences use it: what is found of a prompt, and what is waited for while another computes it.

Which page holds which text is known to the `PagePool`; here is who fills the pages that are not there yet.
"""

from dataclasses import dataclass

from pelton.workers.engine.scheduling.chunk import ScheduledChunk
from pelton.workers.engine.scheduling.page_pool import PagePool
from pelton.workers.engine.scheduling.sequences import SequenceState


@dataclass(slots=True)
class PrefixStats:
    """Prompt tokens that were looked up in the prefix cache, and those of them that needed no computing."""

    asked: int = 0
    hit: int = 0


class PrefixCache:
    """Where it is not `enabled` nothing is found, and nothing is there to be found."""

    def __init__(self, pool: PagePool, *, enabled: bool) -> None:
        self.stats = PrefixStats()
        self._pool = pool
        self._enabled = enabled
        # Full pages that some sequence is computing now: others with the same text wait for them.
        self._computing: dict[bytes, SequenceState] = {}

    def take(self, sequence: SequenceState) -> bool:
        """Give a sequence without pages those that are there of it; from now on it computes the full pages behind them.

        False while another one computes the very page it needs next: it gets that page when it is done.
        """
        if not self._enabled:
            return True
        size = self._pool.page_size
        digests = sequence.digests(size)
        found: list[int] = []
        for digest in digests:
            page = self._pool.find(digest)
            if page is None:
                break
            found.append(page)
        missing = digests[len(found) :]
        if missing and missing[0] in self._computing:
            return False
        for page in found:
            self._pool.retain(page)
        for digest in missing:
            self._computing.setdefault(digest, sequence)
        # At least one token is computed, even if all pages are there: its logits are what the next one comes from.
        sequence.pages, sequence.computed = found, min(len(found) * size, sequence.length - 1)
        return True

    def count(self, sequence: SequenceState) -> None:
        """Note what was found for a sequence that begins; not for one that begins again with a part of its answer."""
        if sequence.length == sequence.prompt_length:
            sequence.cached = sequence.computed
            self.stats.asked += sequence.prompt_length
            self.stats.hit += sequence.cached

    def register(self, work: ScheduledChunk) -> None:
        """Let others find the pages that a piece of work has filled.

        A sequence that has lost its pages since then has none to be found.
        """
        sequence, size = work.sequence, self._pool.page_size
        end = work.start + work.count
        filled = range(work.start // size, end // size)
        if not self._enabled or not filled or sequence.computed < end:
            return
        digests = sequence.digests(size)
        for index in filled:
            self._pool.register(sequence.pages[index], digests[index])
            if self._computing.get(digests[index]) is sequence:
                del self._computing[digests[index]]

    def abandon(self, sequence: SequenceState) -> None:
        """Nobody waits any more for what this sequence was computing: it has given its pages back."""
        for digest in [digest for digest, owner in self._computing.items() if owner is sequence]:
            del self._computing[digest]
