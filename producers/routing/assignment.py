"""Which variant a unit has: a pure function of the experiment's name, its salt, its weights and the unit.

Weighted rendezvous hashing: each variant draws a number for the unit, the higher its weight the higher, and the highest
wins. A variant's draw does not depend on the others, so a changed weight moves units to or from that variant only, and
no more of them than the shares say.
"""

import math
from collections.abc import Mapping
from hashlib import blake2b

from pelton.pipeline.wire.routed import UNIT_BYTES

_DIGEST_BYTES = 8
_SHADOW = "shadow"


def assigned(experiment: str, salt: str, weights: Mapping[str, float], unit: str) -> str:
    """The variant of `unit`. `weights` has one variant at least, each weight above 0."""
    return max(weights, key=lambda variant: _draw(weights[variant], "variant", experiment, salt, variant, unit))


def is_shadowed(experiment: str, salt: str, share: float, unit: str) -> bool:
    """Whether `unit` is among the `share` of units whose requests are copied; independent of its variant."""
    return _uniform(_SHADOW, experiment, salt, unit) < share


def unit_hash(experiment: str, salt: str, unit: str) -> str:
    """Tells units apart in replies without naming them."""
    return _digest(UNIT_BYTES, "unit", experiment, salt, unit).hex()


def _draw(weight: float, *parts: str) -> float:
    """Of several draws each is the highest with a probability in proportion to its weight: minus these are exponential
    waiting times, whose rates are the weights.
    """
    return math.log(_uniform(*parts)) / weight


def _uniform(*parts: str) -> float:
    """Above 0 and below 1."""
    number = int.from_bytes(_digest(_DIGEST_BYTES, *parts), "big") >> 11  # as many bits as a float keeps
    return (number + 0.5) / 2**53


def _digest(size: int, *parts: str) -> bytes:
    """No two lists of parts are written alike: each part stands behind its length."""
    digest = blake2b(digest_size=size)
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(4, "big"))
        digest.update(raw)
    return digest.digest()
