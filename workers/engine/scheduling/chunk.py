"""What a step computes of one sequence."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pelton.workers.engine.scheduling.sequences import SequenceState


@dataclass(frozen=True, slots=True)
class ScheduledChunk:
    """The tokens `start` to `start + count` of one sequence, to be computed in this step.

    Where they are `stored` their keys and values are in pages that others may share: only the logits are wanted. Behind
    the newest token may come `drafts`: guesses at the tokens after it, computed as if they were right.
    """

    sequence: SequenceState
    start: int
    count: int
    stored: bool = False
    drafts: tuple[int, ...] = ()

    @property
    def completes(self) -> bool:
        """Whether the step reaches the newest token, so that the next one is to be chosen."""
        return self.start + self.count == self.sequence.length

    @property
    def drafts_fit(self) -> bool:
        """Whether drafts may come behind it: it computes the newest token alone, and in pages of its own."""
        return self.completes and self.count == 1 and not self.stored

    @property
    def rows(self) -> int:
        """The tokens to be computed, drafts included."""
        return self.count + len(self.drafts)

    @property
    def tokens(self) -> NDArray[np.int64]:
        """These tokens, [rows]."""
        own = self.sequence.tokens[self.start : self.start + self.count]
        return np.append(own, self.drafts) if self.drafts else own

    @property
    def wanted(self) -> int:
        """How many of the last rows choose a token."""
        return 1 + len(self.drafts) if self.completes else 0
