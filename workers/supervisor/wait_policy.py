"""How long a thread of a step spins for the others at the end of a product, before it sleeps.

OpenMP as GCC has it spins for milliseconds by default. Where another program has taken a thread's core, the others then
spin away their own share of the processors, at each of some hundred products of a step. OpenMP reads the variable when
it is loaded, so that only whoever starts a process can set it.
"""

import os
from collections.abc import Mapping

SPIN_VARIABLE = "GOMP_SPINCOUNT"
_USERS_CHOICE = (SPIN_VARIABLE, "OMP_WAIT_POLICY")
_SPINS = 20_000
"""Some 0.5 ms: longer than the operations between two products take, and shorter than what the system lets a neighbour
compute at a time. With 4,000 a step took a fifth longer on a quiet Intel Xeon, where threads wake slowly."""


def wait_policy(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What to add to the `environment` of a process that computes; nothing where somebody has chosen already."""
    if any(name in environment for name in _USERS_CHOICE):
        return {}
    return {SPIN_VARIABLE: str(_SPINS)}
