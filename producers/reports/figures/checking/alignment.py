"""Which of a sentence's periods a number is said of."""

import re

from pelton.producers.reports.figures.lexing.lexer import Number, Scan
from pelton.producers.reports.figures.lexing.periods import Period, PeriodMention

_JOIN = re.compile(
    r"\s*(?:,|,?\s?(?:and|or|versus|vs\.?|compared\s(?:to|with)|from|to)|;|&)?\s*(?:the\s)?(?:fiscal\s)?(?:years?\s)?",
    re.IGNORECASE,
)


def periods_of(sentence: str, found: Scan, number: Number) -> tuple[Period, ...]:
    """The periods of one number.

    With one amount or one period that is all of them. "A, B and C in 2019, 2018 and 2017, respectively" is
    aligned. Else it is the period that follows before the next amount, or stands just before the number.
    """
    amounts, periods = found.amounts, found.periods
    everything = tuple(dict.fromkeys(mention.period for mention in periods))
    if len(amounts) <= 1 or len(everything) <= 1:
        return everything
    aligned = _aligned(found, number)
    if aligned is not None:
        return (aligned,)
    place = amounts.index(number)
    after = amounts[place + 1].start if place + 1 < len(amounts) else len(sentence)
    before = amounts[place - 1].end if place else 0
    following = [mention for mention in periods if number.end <= mention.start < after]
    if following:
        return _first_run(sentence, following)
    preceding = [mention for mention in periods if before <= mention.start < number.start]
    return (preceding[-1].period,) if preceding else everything


def _aligned(found: Scan, number: Number) -> Period | None:
    """The period at the number's own place in two lists of equal length."""
    amounts, periods = (
        found.amounts,
        [mention for mention in found.periods if mention.period.year or mention.period.part],
    )
    for size in range(2, min(len(amounts), len(periods)) + 1):
        first_amounts = [list(amounts[start : start + size]) for start in range(len(amounts) - size + 1)]
        for run in first_amounts:
            if number not in run:
                continue
            later = [mention for mention in periods if mention.start >= run[-1].end][:size]
            nothing_between = not [mention for mention in periods if run[0].end <= mention.start < run[-1].start]
            follows = later and not [one for one in amounts if run[-1].end <= one.start < later[-1].start]
            if len(later) == size and nothing_between and follows and _ends_list(amounts, run, periods, later):
                return later[run.index(number)].period
    return None


def _ends_list(
    amounts: tuple[Number, ...], run: list[Number], periods: list[PeriodMention], later: list[PeriodMention]
) -> bool:
    """Whether both lists are whole: no further amount directly before, no further period directly behind."""
    place = amounts.index(run[0])
    behind = [mention for mention in periods if mention.start > later[-1].start]
    before = amounts[place - 1] if place else None
    return not (before and run[0].start - before.end < 8) and not (behind and behind[0].start - later[-1].end < 8)  # noqa: PLR2004  # ", and $"


def _first_run(sentence: str, mentions: list[PeriodMention]) -> tuple[Period, ...]:
    """The first period and those joined to it: "in 2019 and 2018"."""
    run = [mentions[0]]
    for mention in mentions[1:]:
        if not _JOIN.fullmatch(sentence[run[-1].end : mention.start]):
            break
        run.append(mention)
    return tuple(dict.fromkeys(mention.period for mention in run))
