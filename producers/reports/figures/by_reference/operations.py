"""The operations of references: exact decimals, units that must fit, formulas that a person can follow."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

from pelton.producers.reports.figures.quantity import PERCENT, PLAIN, POINTS, TIMES, Quantity

VALUE, SUM, DIFFERENCE, PERCENT_CHANGE, RATIO, AVERAGE, SHARE = "value", "sum", "diff", "pct", "ratio", "avg", "share"
# Fewest and most operands.
ARITY = {
    VALUE: (1, 1),
    SUM: (2, 12),
    DIFFERENCE: (2, 2),
    PERCENT_CHANGE: (2, 2),
    RATIO: (2, 2),
    AVERAGE: (2, 12),
    SHARE: (2, 2),
}
_PRECISION = 60
_PERCENT_DECIMALS, _RATIO_DECIMALS, _FINEST = 1, 2, 4


class Impossible(Exception):
    """A reference that cannot be computed. `kind` is that of the `Problem` it becomes."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Computed:
    """`formula` uses the operands' own texts; empty for a plain value."""

    quantity: Quantity
    formula: str


def group_of(quantity: Quantity) -> tuple[str, bool]:
    """Quantities of one group may be added and compared: one unit, scale stated for all or for none."""
    return quantity.unit, quantity.scale_known


def compute(operation: str, operands: Sequence[Quantity], texts: Sequence[str]) -> Computed:
    """The result of an operation.

    `texts` are the operands as a formula shows them.

    Raises:
        Impossible: wrong number of operands, units that do not fit, division by zero, a percent change
            over a change of sign.

    """
    if operation not in ARITY:
        raise Impossible("unknown_operation", f"{operation} is none of {', '.join(ARITY)}")
    fewest, most = ARITY[operation]
    if not fewest <= len(operands) <= most:
        raise Impossible("arity", f"{operation} takes {fewest} to {most} cells, not {len(operands)}")
    if operation == VALUE:
        return Computed(operands[0], "")
    unit = _common_unit(operands)
    with localcontext() as context:
        context.prec = _PRECISION
        return _COMPUTE[operation](operands, texts, unit)


def _common_unit(operands: Sequence[Quantity]) -> str:
    units = {operand.unit for operand in operands}
    named = units - {PLAIN}
    if len(named) > 1 or (
        PLAIN in units and named and not all(operand.is_money for operand in operands if operand.unit)
    ):
        raise Impossible("mixed_units", f"units differ: {', '.join(sorted(unit or 'none' for unit in units))}")
    if len({operand.scale for operand in operands if not operand.scale_known} | {0}) > 1 or (
        len({operand.scale_known for operand in operands}) > 1 and any(operand.scale for operand in operands)
    ):
        raise Impossible("mixed_units", "the scale of one of the cells is not known")
    return named.pop() if named else PLAIN


def _amount(operands: Sequence[Quantity], amount: Decimal, unit: str, decimals: int) -> Quantity:
    scale = operands[0].scale
    return Quantity(
        amount.scaleb(-scale), scale, unit, decimals, scale_known=all(operand.scale_known for operand in operands)
    )


def _decimals(operands: Sequence[Quantity]) -> int:
    """Digits that keep every operand exact at the first one's scale."""
    return max(0, *(operand.decimals + operands[0].scale - operand.scale for operand in operands))


def _sum(operands: Sequence[Quantity], texts: Sequence[str], unit: str) -> Computed:
    total = sum((operand.amount for operand in operands), Decimal(0))
    return Computed(_amount(operands, total, unit, _decimals(operands)), " + ".join(texts))


def _difference(operands: Sequence[Quantity], texts: Sequence[str], unit: str) -> Computed:
    unit = POINTS if unit == PERCENT else unit
    change = operands[0].amount - operands[1].amount
    return Computed(_amount(operands, change, unit, _decimals(operands)), " - ".join(texts))


def _average(operands: Sequence[Quantity], texts: Sequence[str], unit: str) -> Computed:
    mean = sum((operand.amount for operand in operands), Decimal(0)) / len(operands)
    formula = f"({' + '.join(texts)}) / {len(operands)}"
    return Computed(_amount(operands, mean, unit, _decimals(operands) + 1), formula)


def _percent_change(operands: Sequence[Quantity], texts: Sequence[str], _unit: str) -> Computed:
    new, old = (operand.amount for operand in operands)
    _nonzero(old, texts[1])
    if new and (new < 0) != (old < 0):
        raise Impossible(
            "sign_change", f"a percent change from {texts[1]} to {texts[0]} means nothing: the sign changes"
        )
    change = (new - old) / old * 100
    return Computed(_rate(change, PERCENT, _PERCENT_DECIMALS), f"({texts[0]} - {texts[1]}) / {texts[1]}")


def _ratio(operands: Sequence[Quantity], texts: Sequence[str], _unit: str) -> Computed:
    _nonzero(operands[1].amount, texts[1])
    return Computed(_rate(operands[0].amount / operands[1].amount, TIMES, _RATIO_DECIMALS), f"{texts[0]} / {texts[1]}")


def _share(operands: Sequence[Quantity], texts: Sequence[str], _unit: str) -> Computed:
    _nonzero(operands[1].amount, texts[1])
    share = operands[0].amount / operands[1].amount * 100
    return Computed(_rate(share, PERCENT, _PERCENT_DECIMALS), f"{texts[0]} / {texts[1]}")


def _rate(value: Decimal, unit: str, decimals: int) -> Quantity:
    """A rate with enough decimals that something other than zero is not shown as zero, within reason."""
    while value and decimals < _FINEST and abs(value) < Decimal(5).scaleb(-decimals - 1):
        decimals += 1
    return Quantity(value, 0, unit, decimals, scale_known=True)


def _nonzero(amount: Decimal, text: str) -> None:
    if not amount:
        raise Impossible("division_by_zero", f"{text} is zero")


_COMPUTE = {
    SUM: _sum,
    DIFFERENCE: _difference,
    AVERAGE: _average,
    PERCENT_CHANGE: _percent_change,
    RATIO: _ratio,
    SHARE: _share,
}
