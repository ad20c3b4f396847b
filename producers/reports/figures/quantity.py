"""A number with what it counts: the value exactly as written, its scale and its unit."""

from dataclasses import dataclass
from decimal import Decimal

PLAIN = ""
PERCENT = "%"
POINTS = "pp"
BASIS_POINTS = "bp"
TIMES = "x"
PER_SHARE = "/share"

SCALE_WORDS = {0: "", 3: "thousand", 6: "million", 9: "billion", 12: "trillion"}


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of a table or a sentence.

    Args:
        value: the signed number as written, before its scale: `-12.6` of `(12.6) million`.
        scale: power of ten that the value is to be multiplied by: 6 of million.
        unit: an ISO currency (`USD`, also `USD/share`), `%`, `pp` (percentage points), `bp`
            (basis points), `x` (times), a lower-case noun (`shares`, `days`), or empty where nothing says.
        decimals: digits after the decimal separator as written.
        scale_known: whether text or headers state the scale (a bare number in a table without one: False).

    """

    value: Decimal
    scale: int = 0
    unit: str = PLAIN
    decimals: int = 0
    scale_known: bool = False

    @property
    def amount(self) -> Decimal:
        """The value with its scale applied, exact."""
        return self.value.scaleb(self.scale)

    @property
    def is_money(self) -> bool:
        return is_money(self.unit)

    @property
    def is_rate(self) -> bool:
        """Whether it is a share or rate and not an amount."""
        return self.unit in {PERCENT, POINTS, BASIS_POINTS}


def is_money(unit: str) -> bool:
    code = unit.removesuffix(PER_SHARE)
    return len(code) == 3 and code.isupper()  # noqa: PLR2004  # the length of an ISO 4217 code
