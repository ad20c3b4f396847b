"""How long requests are to wait that were asked for together; 0 for those that may run."""

from collections.abc import Sequence

from pelton.cache.quotas.account import Ask


def fitting(asks: Sequence[Ask], waits: Sequence[float]) -> list[Ask]:
    """Those that need not wait."""
    return [ask for ask, wait in zip(asks, waits, strict=True) if wait == 0]


def merged(held: Sequence[float], answered: Sequence[float]) -> list[float]:
    """The waits of all, of which only those were asked for that were not held back."""
    asked = iter(answered)
    return [wait or next(asked) for wait in held]


def in_order(waits: Sequence[float], *, strictly: bool) -> list[float]:
    """Where nobody may go before one that came earlier, all behind the first that has to wait do so too."""
    first = next((wait for wait in waits if wait > 0), 0.0)
    place = next((number for number, wait in enumerate(waits) if wait > 0), len(waits))
    return [*waits[:place], *(first if strictly else wait for wait in waits[place:])]
