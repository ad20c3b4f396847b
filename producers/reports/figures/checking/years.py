"""Years that a text gives as an answer: "In which year were sales higher? 2019". Elsewhere years are no figures."""

import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

from pelton.producers.reports.figures.checking.claims import statements
from pelton.producers.reports.figures.checking.computing.counts import condition
from pelton.producers.reports.figures.checking.facts import Fact, Facts, Series
from pelton.producers.reports.figures.checking.ranking import rank
from pelton.producers.reports.figures.checking.words import stems
from pelton.producers.reports.figures.lexing.lexer import scan
from pelton.producers.reports.figures.lexing.periods import Period
from pelton.producers.reports.figures.model import DERIVED, SUPPORTED, UNSUPPORTED, Verdict

_ASKED = re.compile(r"\b(?:which|what)\s(?:\w+\s){0,3}?(?:year|quarter|period|date)s?\b|\bwhen\b", re.IGNORECASE)
_MOST = re.compile(
    r"\b(?:larg(?:er|est)|high(?:er|est)|great(?:er|est)|bigg(?:er|est)|most|more|maximum|peak\w*)\b", re.IGNORECASE
)
_LEAST = re.compile(r"\b(?:small(?:er|est)|low(?:er|est)|least|less|few(?:er|est)|minimum)\b", re.IGNORECASE)
_MAX_SERIES = 3


def year_verdicts(text: str, facts: Facts) -> Iterator[Verdict]:
    """A verdict for each year or date that stands as the answer to a question for one."""
    for start, end in statements(text):
        sentence = text[start:end]
        asked = sentence.rfind("?")
        if asked < 0 or not _ASKED.search(sentence, 0, asked):
            continue
        for mention in scan(sentence).periods:
            if mention.start > asked and mention.period.year:
                said = sentence[mention.start : mention.end]
                yield _verdict(said, start + mention.start, mention.period, sentence[:asked], facts)


def _verdict(said: str, start: int, period: Period, question: str, facts: Facts) -> Verdict:
    end = start + len(said)
    compared = _chosen(question, facts)
    for line, chosen in compared:
        right = next((fact for fact in chosen if _is_of(fact, period)), None)
        if right is not None:
            formula = ", ".join(f"{fact.about}: {fact.quote}" for fact in line.facts)
            return Verdict(said, start, end, DERIVED, f"{right.id} ({right.about}): {right.quote}", formula)
    if compared:
        return Verdict(said, start, end, UNSUPPORTED, reason=f"the numbers of {said} are not those asked for")
    known = next((fact for fact in facts.all if _is_of(fact, period)), None)
    if known is None and not any(one.year and one.agrees_with(period) for one in facts.periods):
        return Verdict(said, start, end, UNSUPPORTED, reason="the source does not name this period")
    source = f"{known.id} ({known.about}): {known.quote}" if known else f"the source names {said}"
    return Verdict(said, start, end, SUPPORTED, source)


def _is_of(fact: Fact, period: Period) -> bool:
    return any(one.year and one.agrees_with(period) for one in fact.periods)


def _chosen(question: str, facts: Facts) -> list[tuple[Series, list[Fact]]]:
    """What the question asks for, the largest, the smallest or those beyond a bound, of each line that it may mean."""
    keeps, most, least = condition(question), _MOST.search(question), _LEAST.search(question)
    if keeps is None and bool(most) == bool(least):
        return []
    found = []
    for one in rank(stems(question), facts)[:_MAX_SERIES]:
        dated = [fact for fact in one.series.facts if fact.periods and not fact.compares]
        if len({fact.periods for fact in dated}) > 1:
            extreme = [(max if most else min)(dated, key=_size(dated))]
            found.append((one.series, [fact for fact in dated if keeps(fact)] if keeps else extreme))
    return found


def _size(facts: Sequence[Fact]) -> Callable[[Fact], Decimal]:
    """Amounts that are all written as negative are compared without their signs."""
    unsigned = all(fact.quantity.value < 0 for fact in facts)
    return lambda fact: abs(fact.quantity.amount) if unsigned else fact.quantity.amount
