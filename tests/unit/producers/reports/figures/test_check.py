"""The check keeps what the source says or gives, and flags what it does not."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pelton.producers.reports.figures import DERIVED, SUPPORTED, UNSUPPORTED, Checker, check_record

TABLE = [
    ["(in millions)", "2019", "2018", "2017"],
    ["Fixed price", "$1,452.4", "$1,146.2", "$1,036.9"],
    ["Other", "44.1", "56.7", "70.8"],
    ["Total sales", "$1,496.5", "$1,202.9", "$1,107.7"],
    ["Operating expenses", "(300.0)", "(200.0)", "(100.0)"],
    ["Employees (number of)", "1,200", "1,100", "1,000"],
    ["Gross margin", "41.2%", "40.6%", "39.0%"],
]
PARAGRAPHS = [
    "Sales to Intel were $731 million, $507 million and $493 million for 2019, 2018 and 2017, respectively.",
    "At 31 December 2019 the guarantee totalled $13.0 million (2018: $12.4 million).",
]
CHECKER = Checker.of([TABLE], PARAGRAPHS)


def verdict_of_last(text):
    return CHECKER.check(text)[-1].verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Total sales were $1,496.5 million in 2019.", SUPPORTED),
        ("Total sales reached about $1.5 billion in 2019.", SUPPORTED),
        ("What were the total sales in 2018? $1,202.9 million", SUPPORTED),
        ("What were the total sales in 2018? 1,202.9", SUPPORTED),
        ("Operating expenses were $300 million in 2019.", SUPPORTED),
        ("Gross margin was 41.2% in 2019.", SUPPORTED),
        ("In 2018 sales to Intel were $507 million.", SUPPORTED),
        ("The guarantee totalled $12.4 million in 2018.", SUPPORTED),
        ("Total sales rose by 24.4% in 2019.", DERIVED),
        ("Total sales rose by $293.6 million from 2018 to 2019.", DERIVED),
        ("Other sales fell by 22.2% in 2019.", DERIVED),
        ("What was the change in Other from 2018 to 2019? -12.6 million", DERIVED),
        ("Gross margin rose by 0.6 percentage points in 2019.", DERIVED),
        ("Gross margin rose by 60 basis points in 2019.", DERIVED),
        ("Fixed price sales made up 97.1% of total sales in 2019.", DERIVED),
        ("The ratio of fixed price to other sales was 32.93 in 2019.", DERIVED),
        ("Average total sales of 2018 and 2019 were $1,349.7 million.", DERIVED),
        ("The sum of Other in 2018 and 2019 was 100.8 million.", DERIVED),
        ("In 2019 fixed price sales exceeded other sales by $1,408.3 million.", DERIVED),
        ("How many years did total sales exceed $1,200 million? 2", DERIVED),
        ("In 2019, total sales were more than $1.4 billion.", DERIVED),
    ],
)
def test_true_figures_are_kept(text, verdict):
    assert verdict_of_last(text) == verdict


@pytest.mark.parametrize(
    "text",
    [
        "Total sales were $1,498.5 million in 2019.",  # digit
        "Total sales rose by 25.4% in 2019.",
        "Total sales were $1,496.5 billion in 2019.",  # scale
        "Total sales reached $1.5 million in 2019.",
        "What was the change in Other from 2018 to 2019? 12.6 million",  # sign
        "Other sales rose by 22.2% in 2019.",
        "Total sales fell by $293.6 million in 2019.",
        "Total sales were -$1,496.5 million in 2019.",
        "Total sales were $1,496.5 million in 2018.",  # period
        "Total sales were $1,496.5 million in 2021.",
        "Total sales rose by 24.4% in 2018.",
        "Other changed by -12.6 million between 2017 and 2018.",
        "In 2017 sales to Intel were $507 million.",
        "The guarantee totalled $13.0 million in 2018.",
        "Total sales were €1,496.5 million in 2019.",  # unit
        "Total sales rose by 24.4 percentage points in 2019.",
        "Gross margin was $41.2 in 2019.",
        "Gross margin was 41.2 million in 2019.",
        "Other was 44.1% in 2019.",
        "The employees were 1,200 days in 2019.",
        "Goodwill was $77.7 million.",  # nothing like it
    ],
)
def test_altered_figures_are_flagged(text):
    assert verdict_of_last(text) == UNSUPPORTED


def test_each_number_of_a_sentence_has_its_own_period():
    text = "Total sales were $1,496.5 million in 2019, up 24.4% from $1,202.9 million in 2018."
    assert [verdict.verdict for verdict in CHECKER.check(text)] == [SUPPORTED, DERIVED, SUPPORTED]
    swapped = "Total sales were $1,202.9 million in 2019, up 24.4% from $1,496.5 million in 2018."
    assert [verdict.verdict for verdict in CHECKER.check(swapped)] == [UNSUPPORTED, DERIVED, UNSUPPORTED]


def test_a_verdict_quotes_its_source_and_shows_its_formula():
    supported, derived, unsupported = CHECKER.check(
        "Total sales were $1,496.5 million in 2019. They rose 24.4% in 2019. Goodwill was $5 million in 2019."
    )
    assert supported.source == "T1.r4.c2 (Total sales, 2019): $1,496.5"
    assert derived.formula == "($1,496.5 - $1,202.9) / $1,202.9"
    assert "T1.r4.c2" in derived.source
    assert unsupported.reason
    (quoted,) = CHECKER.check("In 2019 sales to Intel were $731 million.")
    assert quoted.source.startswith("P1: Sales to Intel were $731 million")


def test_a_scale_that_only_prose_tells_is_inferred():
    table = [["", "2019"], ["Net sales", "757,312"]]
    told = Checker.of([table], ["Net sales of $757.3 million were higher in 2019."])
    assert told.check("Net sales were 757,312 thousand in 2019.")[0].verdict == SUPPORTED
    assert told.check("Net sales were 757,312 million in 2019.")[0].verdict == UNSUPPORTED


def test_digits_that_are_no_number_are_flagged():
    """A model that runs away writes such; nothing else would be said of them."""
    (verdict,) = CHECKER.check("Sales were 45,000,000,001,18,224,183,183.")
    assert (verdict.text, verdict.verdict) == ("45,000,000,001,18,224,183,183", UNSUPPORTED)


def test_a_year_that_is_asked_for_is_checked():
    assert CHECKER.check("In which year were total sales larger? 2019")[0].verdict == DERIVED
    assert CHECKER.check("In which year were total sales larger? 2018")[0].verdict == UNSUPPORTED
    assert CHECKER.check("In which year were total sales larger? 2013")[0].verdict == UNSUPPORTED


def test_without_a_source_nothing_is_supported():
    verdicts = check_record({"text": "Sales were $5 million, up 4%.", "tables": [], "paragraphs": []})
    assert [verdict.verdict for verdict in verdicts] == [UNSUPPORTED, UNSUPPORTED]


GRIDS = st.lists(st.lists(st.text(max_size=8), max_size=4), max_size=4)


@given(st.text(max_size=60), GRIDS, st.lists(st.text(max_size=40), max_size=2))
@example("", [[], ["\u00b2"]], [])
def test_any_record_can_be_checked(text, rows, paragraphs):
    for verdict in check_record({"text": text, "tables": [rows], "paragraphs": paragraphs}):
        assert text[verdict.start : verdict.end] == verdict.text
        assert (verdict.verdict == UNSUPPORTED) == (not verdict.source)


@pytest.mark.parametrize(
    "sentence", ["Total sales rose by 25.4% in 2019. ", "The average of 1,349.8 and 2018, ", "How many 3? ", "5%"]
)
def test_time_is_linear_in_the_text(sentence):
    """Four times the text takes about four times the processor's time, not sixteen. Both are longer than a sentence may
    be, within which every figure is held against every other.
    """
    few = min(_seconds(sentence * (1_000 // len(sentence))) for _ in range(2))  # the first one fills caches
    assert _seconds(sentence * (4_000 // len(sentence))) < 9 * few


def _seconds(text: str) -> float:
    began = time.thread_time()
    CHECKER.check(text)
    return time.thread_time() - began
