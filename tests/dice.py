"""Random numbers inside a property, by a seed that Hypothesis draws: drawn one by one they cost more than the test."""

import random

from hypothesis import strategies as st

DICE = st.integers(0, 2**32 - 1).map(random.Random)
