"""Looks for a number as it stands in the source, said of the same thing in the same period."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pelton.producers.reports.figures.checking import matching
from pelton.producers.reports.figures.checking.claims import Claim
from pelton.producers.reports.figures.checking.facts import Fact, Facts
from pelton.producers.reports.figures.checking.intent import speaks_of_average, speaks_of_change
from pelton.producers.reports.figures.checking.matching import Setting, compare
from pelton.producers.reports.figures.checking.points import says
from pelton.producers.reports.figures.checking.ranking import Ranked
from pelton.producers.reports.figures.checking.words import stems

# Things that are written without their minus in prose.
_NEGATIVE_BY_NATURE = re.compile(
    r"\b(?:loss\w*|deficit|decreas\w*|declin\w*|expens\w*|costs?|charges?|provision\w*|allowance\w*|deduct\w*|used|outflows?|"
    r"paid|payments?|repay\w*|purchas\w*|repurchas\w*|dividends?|tax\w*|disposal\w*|dispos\w*|lapsed|vested|forfeit\w*|expired|"
    r"cancel\w*|exercis\w*|depreciation|amortis\w*|amortiz\w*|impair\w*|write\w*|settle\w*|reduc\w*|liabilit\w*|owed|treasury|"
    r"additions?|expenditures?|capex|spen[dt]\w*|acqui\w*|distribut\w*|redempt\w*|invest\w*|"
    r"took|takes|subtract\w*|lost|wiped|drag\w*|negative\w*|released?|utili[sz]\w*|reversal\w*|accumulated)\b",
    re.IGNORECASE,
)
_DEDUCTED = re.compile(r"(?:.*\s—\s)?\W*(?:less|unamorti[sz]ed|deduct\w*)\b", re.IGNORECASE)
# What one line is called by where it may be either.
_TWINS = tuple(
    (re.compile(rf"\b(?:{good})\b", re.IGNORECASE), re.compile(rf"\b(?:{bad})\b", re.IGNORECASE))
    for good, bad in (
        (r"provided|generated|inflows?", r"used|outflows?"),
        (r"income(?!\s+tax)|profits?|earnings|gains?|surplus", r"loss(?:es)?|deficit|expenses?"),
        (r"benefits?", r"provision|expenses?"),
        (r"increases?|increased", r"decreases?|decreased"),
    )
)
_MAX_GROUPS = 40
_SPECIFIC_DIGITS = 3
_WEAK, _FAIR, _NEAR_THE_BEST = 0.2, 0.45, 0.85


@dataclass(frozen=True, slots=True)
class Direct:
    """The fact that supports a claim, or why the nearest one does not."""

    fact: Fact | None
    reason: str = ""


def supporting(claim: Claim, facts: Facts, ranked: Sequence[Ranked]) -> Direct:
    """The best fact with the claim's value, unit, scale, sign and period; its words must be those of the sentence."""
    scores = {one.series.key: one.score for one in ranked}
    needed = _needed_scores(claim, ranked)
    best_rows = {fact.row for one in ranked[:1] for fact in one.series.facts}
    reason = ""
    best: tuple[float, Fact] | None = None
    for fact in facts.near(claim.number.quantity):
        setting = Setting(facts.currencies, f"{fact.about} {fact.quote}".lower())
        difference = compare(claim.number, fact.quantity, setting)
        if difference == matching.OTHER_VALUE:
            continue
        score = scores.get(fact.series, 0.0)
        if difference == matching.OTHER_SIGN and _sign_is_free(claim, fact):
            difference = matching.SAME
        if difference != matching.SAME:
            reason = reason or f"{fact.id} has another {difference}: {fact.quote[:80]}"
        elif not _period_fits(claim, fact, facts):
            reason = reason or f"{fact.id} is of another period: {fact.about[:80]}"
        elif _is_of_another_group(claim, fact, facts):
            reason = reason or f"{fact.id} is of another group: {fact.about[:80]}"
        elif not _operation_fits(claim, fact):
            continue
        elif score >= _needed(claim, fact, needed, best_rows) and (best is None or score > best[0]):
            best = score, fact
    return Direct(best[1]) if best else Direct(None, reason)


def _is_of_another_group(claim: Claim, fact: Fact, facts: Facts) -> bool:
    """Whether the sentence names the group of a line of the same name, and not this one's: "Retail revenue"."""
    if not fact.from_table or not fact.series[1]:
        return False
    mine = stems(fact.series[1])
    others = [stems(one.key[1]) for one in facts.of_one_name(fact.series)[:_MAX_GROUPS] if one.key != fact.series]
    return not mine & claim.words and any((other - fact.own) & claim.words for other in others)


def _needed(claim: Claim, fact: Fact, scores: dict[bool, float], best_rows: set[tuple[str, int]]) -> float:
    """Less for a number of the best line's row, another column of which the words name better.

    A row that is only a period ("2024") is named by it, where the words name its column.
    """
    if not fact.from_table:
        return scores[False]
    is_dated = claim.periods and any(period.year for period in fact.periods)
    if is_dated and not fact.own and fact.around & claim.words:
        return _WEAK
    return min(scores[True], _FAIR) if fact.row in best_rows else scores[True]


def _needed_scores(claim: Claim, ranked: Sequence[Ranked]) -> dict[bool, float]:
    """How well the words must fit, for tables (True) and prose: few digits only count with the best line's words."""
    if _digits(claim) >= _SPECIFIC_DIGITS:
        return {True: _WEAK, False: _WEAK}
    best = {True: 0.0, False: 0.0}
    for one in ranked:
        kind = one.series.facts[0].from_table
        best[kind] = max(best[kind], one.score)
    return {kind: max(_FAIR, _NEAR_THE_BEST * score) for kind, score in best.items()}


def _digits(claim: Claim) -> int:
    return len(str(abs(claim.number.quantity.value)).replace(".", "").strip("0"))


def _sign_is_free(claim: Claim, fact: Fact) -> bool:
    """A negative cell may be told as a positive amount of something negative: "a loss of 5"."""
    stated = claim.number.quantity.value
    if stated > 0 and fact.quantity.value < 0:
        if _says_the_good(claim.sentence, fact):
            return False
        if fact.from_table and _DEDUCTED.match(fact.about):
            return True
        return _NEGATIVE_BY_NATURE.search(f"{fact.about if fact.from_table else ''} {claim.sentence}") is not None
    return claim.number.aside


def _says_the_good(sentence: str, fact: Fact) -> bool:
    """Whether the sentence says income, and the line is one of income (loss): then a negative one is a loss."""
    if not fact.from_table:
        return False
    return any(
        good.search(sentence) and not bad.search(sentence) and good.search(fact.about) and bad.search(fact.about)
        for good, bad in _TWINS
    )


def _period_fits(claim: Claim, fact: Fact, facts: Facts) -> bool:
    if not claim.periods:
        return True
    if fact.compares and fact.periods:
        is_named = set(claim.periods) <= set(claim.all_periods)
        claimed = claim.periods if is_named else claim.all_periods
        times = fact.periods if len(claimed) > 1 else fact.periods[:1]
        return all(says(times, (period,)) for period in claimed)
    if claim.intent.before and len(claim.all_periods) == 1 and _is_year_before(fact, claim):
        return True
    if fact.periods:
        return says(fact.periods, claim.periods)
    return all(any(one.agrees_with(two) for two in facts.periods) for one in claim.all_periods)


def _is_year_before(fact: Fact, claim: Claim) -> bool:
    """Whether the fact is of the year before the only one named: "$5 in 2019, down from $6"."""
    named = claim.all_periods[0]
    before = replace(named, year=named.year - 1)
    return any(period.year == before.year and period.agrees_with(before) for period in fact.periods)


def _operation_fits(claim: Claim, fact: Fact) -> bool:
    """A change or an average is only a cell or sentence that says so itself."""
    said = f"{fact.about} {fact.quote}" if fact.from_table else fact.quote
    if claim.intent.change and not claim.intent.value and not speaks_of_change(said):
        return False
    return not (claim.intent.average and not speaks_of_average(said))
