"""The check: where each number of a text stands in the source, how it follows from it, or that it does neither."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import localcontext
from typing import Any

from pelton.producers.reports.figures.checking import matching
from pelton.producers.reports.figures.checking.acronyms import spelled_out
from pelton.producers.reports.figures.checking.claims import Claim, claims
from pelton.producers.reports.figures.checking.computing.chance import in_line
from pelton.producers.reports.figures.checking.computing.counts import bounded, counted
from pelton.producers.reports.figures.checking.computing.derive import CHANGE, DIFFERENCE, Candidate, candidates
from pelton.producers.reports.figures.checking.computing.identities import identities
from pelton.producers.reports.figures.checking.computing.sets import from_sets
from pelton.producers.reports.figures.checking.computing.unlike import for_each
from pelton.producers.reports.figures.checking.direct import supporting
from pelton.producers.reports.figures.checking.facts import Fact, Facts, collect
from pelton.producers.reports.figures.checking.matching import Setting, compare
from pelton.producers.reports.figures.checking.ranking import Ranked, rank
from pelton.producers.reports.figures.checking.scales import with_inferred_scales
from pelton.producers.reports.figures.checking.things import View, views
from pelton.producers.reports.figures.checking.words import known, stems
from pelton.producers.reports.figures.checking.years import year_verdicts
from pelton.producers.reports.figures.lexing.lexer import UNREADABLE, scan
from pelton.producers.reports.figures.model import DERIVED, SUPPORTED, UNSUPPORTED, Table, Verdict
from pelton.producers.reports.figures.tables.parse import parse_table

_PRECISION = 50
_DIRECTIONS = stems("increase decrease reduction growth decline gain drop rise fall reductions additions")
_QUOTE = 300


class Checker:
    """Checks texts against one set of sources, which are read once."""

    def __init__(self, tables: Sequence[Table], paragraphs: Sequence[str]) -> None:
        self._facts = collect(with_inferred_scales(tables, paragraphs), paragraphs)
        self._views = views(self._facts)

    @classmethod
    def of(cls, tables: Sequence[Sequence[Sequence[str]]], paragraphs: Sequence[str]) -> "Checker":
        """From tables as grids of strings; paragraphs also say scales: "(in thousands)"."""
        context = "\n".join(paragraphs)
        parsed = [parse_table(rows, id=f"T{number}", context=context) for number, rows in enumerate(tables, start=1)]
        return cls(parsed, paragraphs)

    def check(self, text: str) -> list[Verdict]:
        """One verdict for each amount of the text, in order.

        Dates, years and names such as "note 5" have none, but for years that are asked for: "In which year? 2019".
        """
        with localcontext() as context:
            context.prec = _PRECISION
            verdicts = [_verdict(self._in_words_of_labels(claim), self._facts, self._views) for claim in claims(text)]
            verdicts += year_verdicts(text, self._facts)
            verdicts += _unreadable(text)
        return sorted(verdicts, key=lambda verdict: verdict.start)

    def _in_words_of_labels(self, claim: Claim) -> Claim:
        meant = spelled_out(claim.sentence, self._facts.acronyms)
        return replace(claim, words=claim.words | meant) if meant else claim


def check(text: str, tables: Sequence[Table], paragraphs: Sequence[str]) -> list[Verdict]:
    """One verdict for each amount of a text; `Checker` reads the sources once for many texts."""
    return Checker(tables, paragraphs).check(text)


def check_record(record: Mapping[str, Any]) -> list[Verdict]:
    """The check of one `{"text", "tables": [[[cell, ...], ...], ...], "paragraphs": [...]}`."""
    paragraphs = [str(paragraph) for paragraph in record.get("paragraphs") or ()]
    return Checker.of(record.get("tables") or (), paragraphs).check(str(record.get("text", "")))


def _unreadable(text: str) -> list[Verdict]:
    """Runs of digits that are no number: nothing can support them."""
    return [
        Verdict(number.text, number.start, number.end, UNSUPPORTED, reason="not a readable number")
        for number in scan(text).numbers
        if number.kind == UNREADABLE
    ]


def _verdict(claim: Claim, facts: Facts, tables: Sequence[tuple[View, View]]) -> Verdict:
    text, start, end = claim.number.text, claim.start, claim.end
    if claim.repeated is not None:
        return Verdict(text, start, end, UNSUPPORTED, reason=f"the sentence names {claim.repeated} twice")
    ranked = rank(claim.words, facts)
    direct = supporting(claim, facts, ranked)
    if direct.fact is not None:
        unstated = claim.number.quantity.scale and not direct.fact.quantity.scale_known
        source = _source(direct.fact) + (" (the source does not state its scale)" if unstated else "")
        return Verdict(text, start, end, SUPPORTED, source)
    reason = direct.reason
    for candidate in _computed(claim, ranked, facts, tables):
        if candidate.is_last_resort and reason:
            break  # a number that differs from one that the words choose is wrong, whatever else may give it
        difference = _compare(claim, candidate, facts)
        if difference == matching.SAME:
            source = "; ".join(dict.fromkeys(_source(fact) for fact in candidate.facts))
            return Verdict(text, start, end, DERIVED, source[: 4 * _QUOTE], candidate.formula)
        if difference != matching.OTHER_VALUE and not reason:
            reason = f"{candidate.formula} has another {difference}"
    return Verdict(text, start, end, UNSUPPORTED, reason=reason or "nothing in the source gives this number")


def _computed(
    claim: Claim, ranked: Sequence[Ranked], facts: Facts, tables: Sequence[tuple[View, View]]
) -> Iterator[Candidate]:
    """What may be computed from the source, in the order of how well the words of the sentence choose it."""
    words = known(claim.words, facts.table_words)
    yield from counted(claim, ranked, facts)
    yield from bounded(claim, ranked)
    yield from candidates(claim, ranked, facts)
    yield from from_sets(claim, tables, words, facts)
    yield from for_each(claim, ranked, facts)
    yield from identities(claim, facts)
    yield from in_line(claim, tables, words, facts.weights)


def _compare(claim: Claim, candidate: Candidate, facts: Facts) -> str:
    words = " ".join(fact.about.lower() for fact in candidate.facts)
    difference = compare(claim.number, candidate.quantity, Setting(facts.currencies, words))
    value, stated = candidate.quantity.value, claim.number.quantity.value
    if candidate.kind == CHANGE and difference in {matching.SAME, matching.OTHER_SIGN}:
        if claim.intent.unsigned and stated > 0:
            return matching.SAME
        return _direction(claim, candidate.facts, falls=value < 0, stated_negative=stated < 0, difference=difference)
    if candidate.kind == DIFFERENCE and difference == matching.OTHER_SIGN and stated > 0:
        return matching.SAME
    return difference


def _direction(claim: Claim, facts: Sequence[Fact], *, falls: bool, stated_negative: bool, difference: str) -> str:
    """Words have a sign too: "decreased by 5" says -5, and "increased by 5" of what fell by 5 is wrong."""
    if any(fact.own & _DIRECTIONS for fact in facts):
        return difference  # "reductions" is what the line is called
    if claim.intent.down and not stated_negative:
        return matching.SAME if falls else matching.OTHER_SIGN
    if claim.intent.up and falls and not stated_negative:
        return matching.OTHER_SIGN
    return difference


def _source(fact: Fact) -> str:
    if not fact.from_table:
        return f"{fact.id}: {fact.quote[:_QUOTE]}"
    about = f" ({fact.about[:_QUOTE]})" if fact.about else ""
    return f"{fact.id}{about}: {fact.quote}"
