"""What a text has been followed by before: guesses at its next tokens, taken from itself.

An answer that quotes its prompt (a filing, a table, code to be changed) repeats long stretches of it. So where the
newest tokens have stood in prompt or answer before, what followed them there is likely to follow again. Saxena: "Prompt
Lookup Decoding" (2023); Yang et al.: "Inference with Reference: Lossless Acceleration of Large Language Models" (LLMA,
2023).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_MATCH = 2
"""Tokens that must have stood there before; a single one is found nearly everywhere."""
LONGEST_MATCH = 8
"""Longer ones are not told apart."""
MOST_DRAFTED = 16
"""Tokens guessed at once for one request."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Proposal:
    """The likely next `tokens`; they followed an earlier place of the text's last `matched` tokens."""

    tokens: tuple[int, ...]
    matched: int


NOTHING = Proposal((), 0)


def propose(text: Ints, most: int = MOST_DRAFTED) -> Proposal:
    """The tokens that followed the longest earlier match of the end of `text`, int64; of equal ones the latest.

    A match that reaches into the end of the text itself repeats: what follows is taken round and round.
    """
    if len(text) <= LEAST_MATCH:
        return NOTHING
    ends = np.flatnonzero((text[:-2] == text[-2]) & (text[1:-1] == text[-1])) + 1
    if not len(ends):
        return NOTHING
    matched = LEAST_MATCH
    while matched < min(LONGEST_MATCH, len(text)):
        before = ends - matched
        longer = ends[(before >= 0) & (text[before] == text[-1 - matched])]
        if not len(longer):
            break
        ends, matched = longer, matched + 1
    followed = text[ends[-1] + 1 :]
    return Proposal(
        tuple(np.resize(followed, most).tolist() if len(followed) < most else followed[:most].tolist()), matched
    )
