"""Sentences by code for small models, and texts tidied before they are judged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.producers.reports import figures
from pelton.producers.reports.planning.facts import PUNCTUATION, WORDS_GRAMMAR, facts_grammar
from pelton.producers.reports.planning.tidy import tidy
from pelton.producers.reports.spec.model import FactKind

ROWS = [
    ["(in millions of dollars)", "2019", "2018"],
    ["Sales (1)", "1,200", "1,000"],
    ["Costs", "(700)", "(650)"],
    ['Quoted "item" 7', "5", "6"],
    ["Other", "0", "3"],
    ["Total assets", "2,400", "2,000"],
]


def sentences(kinds, count=3) -> list[list[str]]:
    table = figures.parse_table(ROWS, "Results")
    grammar = facts_grammar([table], kinds, count)
    assert grammar is not None
    groups = [line.split(": ", 1)[1].split(" | ") for line in grammar.splitlines()[1:]]
    return [[figures.render(text.strip('"'), [table]).text for text in group] for group in groups]


def test_changes_are_stated_with_both_periods():
    """Each sentence has a row's label and that row's own cells; a percent change only between positive amounts."""
    (sales, costs, total) = sentences([FactKind.CHANGE])
    assert sales == [
        "Sales came to $1,200 million in 2019, compared with $1,000 million in 2018, a change of 20.0%.",
    ]
    assert "change" not in costs[0]
    assert total[0].startswith("Total assets came to")


def test_what_a_column_counts_is_said():
    """Where columns count different things, each sentence says which, and compares like with like."""
    rows = [
        ["", "Revenues", "", "Income (loss) from operations", ""],
        ["(in thousands of dollars)", "2019", "2018", "2019", "2018"],
        ["Tankers", "943", "776", "123", "72"],
        ["Parent", "413", "451", "(219)", "8"],
    ]
    table = figures.parse_table(rows, "Results")
    grammar = facts_grammar([table], [FactKind.CHANGE], 2) or ""
    assert "Revenues of Tankers came to [[T1.r3.c2]] in [[T1.c2]], compared with [[T1.r3.c3]] in [[T1.c3]]" in grammar
    assert "Income (loss) from operations of Parent came to [[T1.r4.c4]]" in grammar


def test_shares_are_of_the_total():
    assert "Sales made up 50.0% of total assets in 2019." in [
        one for group in sentences([FactKind.SHARE], 1) for one in group
    ]


def test_no_sentence_without_data():
    """Words give no grammar; what cannot be rendered is left out."""
    assert facts_grammar([figures.parse_table([["a", "b"], ["c", "d"]])], [FactKind.LEVEL], 2) is None


@pytest.mark.parametrize(
    ("raw", "cut_off", "left"),
    [
        ("One thing. Another th", True, "One thing."),
        ("One thing. Another th", False, "One thing. Another th"),
        ("no end at all", True, "no end at all"),
        ("It is what it is here. It is what it is here. It is what it is here.", False, "It is what it is here."),
        ("- The total of the table is\n- The total of the table is\n- The tot", True, "- The total of the table is"),
        ("Yes. Yes.", False, "Yes. Yes."),
        (
            "Sales were [[T1.r2.c2]]. Costs were [[T1.r3.c2]].",
            False,
            "Sales were [[T1.r2.c2]]. Costs were [[T1.r3.c2]].",
        ),
    ],
)
def test_tidy(raw, cut_off, left):
    """Repeated sentences and unfinished ends go; the rest stays to the letter."""
    assert tidy(raw, cut_off=cut_off) == left


@given(st.text(alphabet="ab .\n-*", max_size=200), st.booleans())
def test_tidy_adds_nothing(raw, cut_off):
    """What is left are words of the text in their order, and tidying again changes nothing."""
    left = tidy(raw, cut_off=False)
    words = iter(raw.split())
    assert all(word in words for word in left.split())
    assert tidy(left, cut_off=False) == left
    assert len(tidy(raw, cut_off=cut_off)) <= len(raw)


def test_words_have_no_numbers():
    """Beside letters a guided section may use punctuation only: no digit, no sign of money or shares, no markup."""
    assert set(PUNCTUATION).isdisjoint("0123456789%$€£¥#|<>[]{}½²_*")
    assert PUNCTUATION[0] in WORDS_GRAMMAR
