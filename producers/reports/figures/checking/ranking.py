"""Which series a sentence speaks of: by the words it shares with their labels, rare words counting more."""

from collections import defaultdict
from dataclasses import dataclass

from pelton.producers.reports.figures.checking.facts import Facts, Series
from pelton.producers.reports.figures.checking.words import known

_MOST = 10
_NEAR_THE_BEST = 0.5
_LEAST = 0.2
_UNNAMED = 0.3  # rows without words of their own: totals, "At 31 December"
_MAX_PLACES = 20_000


@dataclass(frozen=True, slots=True)
class Ranked:
    series: Series
    score: float


def rank(said: frozenset[str], facts: Facts, most: int = _MOST) -> list[Ranked]:
    """The series that the words of a sentence may mean, best first."""
    words = known(said, facts.table_words)
    relevant = [word for word in words if word in facts.weights]
    asked = sum(facts.weights[word] for word in relevant)
    if not asked:
        return []
    shared: dict[int, float] = defaultdict(float)
    for word in relevant:
        for index in facts.by_word[word][:_MAX_PLACES]:
            shared[index] += facts.weights[word]
    ranked = [
        Ranked(facts.series[index], _score(facts, facts.series[index], words, common, asked))
        for index, common in shared.items()
    ]
    ranked.sort(key=lambda one: -one.score)
    best = ranked[0].score if ranked else 0
    unnamed = [Ranked(one, _UNNAMED) for one in facts.series if not one.own and one.facts[0].from_table]
    return [one for one in ranked[:most] if one.score >= max(_LEAST, best * _NEAR_THE_BEST)] + unnamed[:most]


def _score(facts: Facts, series: Series, words: frozenset[str], common: float, asked: float) -> float:
    """Half for how much of its own label the sentence says, half for how much of the sentence it explains."""
    own = sum(facts.weights[word] for word in series.own)
    said = sum(facts.weights[word] for word in series.own & words)
    label = said / own if own else 0.0
    if not series.facts[0].from_table:
        label = common / asked
    return 0.5 * label + 0.5 * common / asked
