"""Figures as reports tell them: comparisons with a period, headers of many kinds, words for what is meant."""

import pytest

from pelton.producers.reports.figures import UNSUPPORTED, Checker

_QUARTERS = Checker.of(
    [
        [
            ["", "Q3 2023", "Q2 2023", "Q3 2022"],
            ["Revenue ($ millions)", "250.5", "240.1", "212.3"],
            ["Operating loss ($ millions)", "(12.5)", "(15.0)", "(31.1)"],
            ["Net income (loss) ($ millions)", "(9.1)", "4.4", "(20.2)"],
            ["Loss ratio", "63.0%", "66.5%", "68.0%"],
            ["Expense ratio", "29.1", "29.3", "29.5"],
            ["Combined ratio", "92.1%", "95.8%", "97.5%"],
            ["Earnings per share (pence)", "1.3p", "2.5p", "2.1p"],
        ]
    ],
    [],
)
_LEASES = Checker.of(
    [
        [
            ["Year ending December 31,", "Operating leases", "Finance leases"],
            ["2023", "$ 11,240", "$ 1,310"],
            ["2024", "9,875", "1,120"],
            ["Thereafter", "8,902", "-"],
            ["Less: imputed interest", "(6,118)", "(264)"],
        ]
    ],
    ["Future payments under leases (in thousands):"],
)
_MEASURES = Checker.of(
    [
        [
            ["Segment", "Measure", "Note", "2019", "2018", "% Change"],
            ["Retail", "Revenue (€ millions)", "4", "1,455", "1,402", "3.8"],
            ["Retail", "Volume", "", "4,977", "5,064", "(1.7)"],
            ["Trade", "Revenue (€ millions)", "4", "2,306", "2,187", "5.4"],
            ["Trade", "Volume", "", "14,655", "14,402", "1.8"],
        ]
    ],
    ["Volumes in thousands of tonnes, stores in thousands."],
)
_DEBT = Checker.of(
    [
        [
            ["", "2020", "2019"],
            ["4.125% senior notes due 2024", "500.0", "500.0"],
            ["5.250% senior notes due 2028", "650.0", "400.0"],
            ["Cash from operating activities", "512.6", "468.3"],
            ["Capital expenditures", "(204.7)", "(177.2)"],
            ["Stores (number)", "1,268", "1,204"],
            ["Average fee rate (bps)", "43.1", "41.0"],
        ]
    ],
    ["All figures in US$ million unless otherwise stated."],
)

_ACRONYMS = Checker.of(
    [
        [
            ["In millions", "2023", "2022"],
            ["Selling, general and administrative expenses", "21.1", "20.1"],
            ["Administrative fees", "3.5", "3.3"],
            ["FFO per unit (in dollars)", "1.9", "1.8"],
        ]
    ],
    [],
)

_KEPT_AND_FLAGGED = {
    "an-acronym-of-a-label": (_ACRONYMS, "SG&A was 21.1 million in 2023.", "SG&A was 3.5 million in 2023."),
    "a-label-that-is-an-acronym": (
        _ACRONYMS,
        "Funds from operations per unit rose to $1.9 in 2023.",
        "Funds from operations per unit rose to $1.9 in 2022.",
    ),
    "compared-with-the-only-period": (
        _QUARTERS,
        "Revenue was $250.5 million, up 18% compared to the third quarter of 2022.",
        "Revenue was $250.5 million, up 18% compared to the third quarter of 2023.",
    ),
    "a-year-earlier": (
        _QUARTERS,
        "Revenue was $250.5 million in Q3 2023, versus $212.3 million a year earlier.",
        "Revenue was $250.5 million in Q3 2023, versus $240.1 million a year earlier.",
    ),
    "same-period-of-the-previous-year": (
        _QUARTERS,
        "Revenue of $250.5 million in Q3 2023 compares with $212.3 million in the same quarter of the previous year.",
        "Revenue of $250.5 million in Q3 2023 compares with $212.8 million in the same quarter of the previous year.",
    ),
    "from-and-to": (
        _QUARTERS,
        "The loss ratio went down from 68.0% to 63.0% in Q3 2023.",
        "The loss ratio went down from 68.0% to 63.0% in Q2 2022.",
    ),
    "a-loss-that-narrowed": (
        _QUARTERS,
        "The operating loss narrowed by $18.6 million from Q3 2022 to Q3 2023.",
        "The operating loss widened by $18.6 million from Q3 2022 to Q3 2023.",
    ),
    "what-improves-may-fall": (
        _QUARTERS,
        "The combined ratio improved by 5.4 points from Q3 2022 to Q3 2023.",
        "The combined ratio improved by 5.1 points from Q3 2022 to Q3 2023.",
    ),
    "a-loss-is-no-income": (
        _QUARTERS,
        "The net loss was $9.1 million in Q3 2023.",
        "Net income was $9.1 million in Q3 2023.",
    ),
    "a-bare-rate-between-rates": (
        _QUARTERS,
        "The expense ratio was 29.1% in Q3 2023.",
        "The expense ratio was $29.1 million in Q3 2023.",
    ),
    "pence": (
        _QUARTERS,
        "Earnings per share came to 1.3p in Q3 2023.",
        "Earnings per share came to 1.8p in Q3 2023.",
    ),
    "years-as-rows": (
        _LEASES,
        "Operating lease payments of $9.9 million fall due in 2024.",
        "Operating lease payments of $9.9 million fall due in 2023.",
    ),
    "what-is-deducted": (
        _LEASES,
        "Imputed interest on operating leases amounts to $6.1 million.",
        "Imputed interest on operating leases amounts to $6.4 million.",
    ),
    "labels-in-two-columns": (
        _MEASURES,
        "Trade revenue was €2,306 million in 2019.",
        "Retail revenue was €2,306 million in 2019.",
    ),
    "a-column-of-percents-beside-money": (
        _MEASURES,
        "Trade revenue rose 5.4% in 2019.",
        "Trade revenue rose €5.4 million in 2019.",
    ),
    "notes-named-by-their-rate": (
        _DEBT,
        "The 5.250% senior notes due 2028 stood at $650 million in 2020.",
        "The 5.250% senior notes due 2028 stood at $680 million in 2020.",
    ),
    "due-is-no-time-of-a-change": (
        _DEBT,
        "In 2020 we issued a further $250 million of 5.250% senior notes due 2028.",
        "In 2020 we issued a further $350 million of 5.250% senior notes due 2028.",
    ),
    "lines-of-the-same-words": (
        _DEBT,
        "The senior notes together came to $1,150 million in 2020.",
        "The senior notes together came to $1,250 million in 2020.",
    ),
    "less-what-is-written-as-negative": (
        _DEBT,
        "Cash from operating activities less capital expenditures was $307.9 million in 2020.",
        "Cash from operating activities less capital expenditures was $317.9 million in 2020.",
    ),
    "a-number-of-things-in-a-table-of-money": (
        _DEBT,
        "We had 1,268 stores in 2020, having added a net 64.",
        "We had 1,268 million stores in 2020, having added a net 64.",
    ),
    "scale-unless-otherwise-stated": (
        _DEBT,
        "Capital expenditures were $204.7 million in 2020.",
        "Capital expenditures were $204.7 thousand in 2020.",
    ),
    "basis-points-in-the-label": (
        _DEBT,
        "The average fee rate was 43.1 basis points in 2020.",
        "The average fee rate was 43.1% in 2020.",
    ),
    "two-currencies-are-none": (
        _DEBT,
        "Capital expenditures were $204.7 million US dollars in 2020.",
        "Capital expenditures were $204.7 million euros in 2020.",
    ),
    "money-is-no-rate": (
        _DEBT,
        "Capital expenditures were USD 204.7 million in 2020.",
        "Capital expenditures were USD 204.7% in 2020.",
    ),
}


@pytest.mark.parametrize("kind", _KEPT_AND_FLAGGED)
def test_a_true_sentence_is_kept_and_an_altered_one_flagged(kind):
    """Every figure of the true sentence is supported or derived; the other, wrong in one thing, has one that is not."""
    checker, true, altered = _KEPT_AND_FLAGGED[kind]
    kept = checker.check(true)
    assert kept
    assert [(verdict.text, verdict.reason) for verdict in kept if verdict.verdict == UNSUPPORTED] == []
    assert any(verdict.verdict == UNSUPPORTED for verdict in checker.check(altered))
