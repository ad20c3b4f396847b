"""How long something takes, for people."""

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def duration(seconds: float) -> str:
    """For people: `40 s`, `12 min`, `3.4 h`, `2.1 days`."""
    for most, unit, name in ((2 * _MINUTE, 1, "s"), (2 * _HOUR, _MINUTE, "min"), (2 * _DAY, _HOUR, "h")):
        if seconds < most:
            shown = seconds / unit
            return f"{shown:,.0f} {name}" if shown >= 10 or unit == 1 else f"{shown:,.1f} {name}"  # noqa: PLR2004
    return f"{seconds / _DAY:,.1f} days"
