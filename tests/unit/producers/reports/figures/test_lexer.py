"""The lexer tells amounts from everything else that has digits, and never fails."""

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.producers.reports.figures.lexing.lexer import AMOUNT, scan
from pelton.producers.reports.figures.lexing.periods import Period

AMOUNTS = [
    ("$2.3bn", "2.3", 9, "USD"),
    ("€2.3 billion", "2.3", 9, "EUR"),
    ("US$261,518", "261518", 0, "USD"),
    ("£(8.1m)", "-8.1", 6, "GBP"),
    ("($5.2 million)", "-5.2", 6, "USD"),
    ("$(5.2) million", "-5.2", 6, "USD"),
    ("-$5.2m", "-5.2", 6, "USD"),
    ("$-5.2", "-5.2", 0, "USD"),
    ("(1,204)", "-1204", 0, ""),
    ("(8,217 )", "-8217", 0, ""),
    ("\u2212298", "-298", 0, ""),
    ("\u20135%", "-5", 0, "%"),
    ("(5)%", "-5", 0, "%"),
    ("(5%)", "-5", 0, "%"),
    (".5%", "0.5", 0, "%"),
    ("6.14 per cent", "6.14", 0, "%"),
    ("25 basis points", "25", 0, "bp"),
    ("25bps", "25", 0, "bp"),
    ("3 percentage points", "3", 0, "pp"),
    ("12.5x", "12.5", 0, "x"),
    ("2.9 times", "2.9", 0, "x"),
    ("$1.20 per share", "1.20", 0, "USD/share"),
    ("2.5 years", "2.5", 0, "years"),
    ("5 million shares", "5", 6, "shares"),
    ("1.234,5", "1234.5", 0, ""),
    ("1,234.5", "1234.5", 0, ""),
    ("1'234.50", "1234.50", 0, ""),
    ("1\u00a0234\u00a0567", "1234567", 0, ""),
    ("12,34,567", "1234567", 0, ""),
    ("12,5%", "12.5", 0, "%"),
    ("1.234.567", "1234567", 0, ""),
    ("Rs. 5 crore", "5", 7, "INR"),
    ("3 million euros", "3", 6, "EUR"),
    ("5,000 USD", "5000", 0, "USD"),
    ("(168) thousand", "-168", 3, ""),
    ("two million", "2", 6, ""),
    ("twenty-five percent", "25", 0, "%"),
    ("2019 employees", "2019", 0, "employees"),
    ("1986 thousand", "1986", 3, ""),
]


@pytest.mark.parametrize(("text", "value", "scale", "unit"), AMOUNTS)
def test_an_amount_is_read_with_sign_scale_and_unit(text, value, scale, unit):
    """Alone and in a sentence, with all that belongs to it in its span."""
    for sentence in (text, f"It was {text} in all."):
        (number,) = scan(sentence).amounts
        quantity = number.quantity
        assert (quantity.value, quantity.scale, quantity.unit) == (Decimal(value), scale, unit)
        assert number.text == text == sentence[number.start : number.end]


@pytest.mark.parametrize(
    "text",
    [
        "March 31, 2019",
        "31 March 2019",
        "in 2019 and 2018",
        "2018-19",
        "2018/19",
        "FY19, F18 and FY2017",
        "Q4 2019",
        "the first quarter of fiscal 2019",
        "2019-12-31 or 12/31/2019",
        "note 5 and sections 3.2 and 4",
        "IFRS 9, ASC 606, Level 3",
        "a 10-K, a 401(k), S2NA, CO2 and COVID-19",
        "the 1st and the 22nd",
        "Total (1)",
        "(1) identify the contract; (2) determine the price",
        "version 1.2.3",
        "one of the two segments",
    ],
)
def test_dates_names_and_ordinals_are_no_amounts(text):
    assert scan(text).amounts == ()


@pytest.mark.parametrize(
    ("text", "periods"),
    [
        ("Q1 and Q2 of fiscal 2019", [Period(2019, part="Q1"), Period(2019, part="Q2")]),
        ("June 30 and December 31, 2019", [Period(2019, 6, day=30), Period(2019, 12, day=31)]),
        ("the second and first quarter of 2019", [Period(2019, part="Q2"), Period(2019, part="Q1")]),
        ("for 2017,2018 and 2019", [Period(2017), Period(2018), Period(2019)]),
        ("2 0 1 8", [Period(2018)]),
        ("may 5 grow", []),
        ("2,019 people", []),
    ],
)
def test_periods_are_found(text, periods):
    """Parts take the year that stands by them."""
    assert [mention.period for mention in scan(text).periods] == periods


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$5 to $10 million", [("5", 6, "USD"), ("10", 6, "USD")]),
        ("5-10%", [("5", 0, "%"), ("10", 0, "%")]),
        ("between 5 and 10%", [("5", 0, "%"), ("10", 0, "%")]),
        ("900,000 to 1.2 million", [("900000", 0, ""), ("1.2", 6, "")]),
    ],
)
def test_the_first_end_of_a_range_takes_scale_and_unit_from_the_second(text, expected):
    found = [(n.quantity.value, n.quantity.scale, n.quantity.unit) for n in scan(text).amounts]
    assert found == [(Decimal(value), scale, unit) for value, scale, unit in expected]


NASTY = st.text(alphabet=st.sampled_from("0123456789.,'()%$€£-\u2013 \u00a0xmbQFY/:[]thJan\u0663½²\n"), max_size=60)


@given(st.one_of(NASTY, st.text(max_size=80)))
def test_any_text_can_be_scanned(text):
    """No text makes it fail; spans are in order, do not overlap, and quote the text."""
    found = scan(text)
    end = 0
    for number in found.numbers:
        assert end <= number.start < number.end <= len(text)
        assert text[number.start : number.end] == number.text
        end = number.end
    assert all(number.kind != AMOUNT or number.quantity.value.is_finite() for number in found.numbers)


@pytest.mark.parametrize(
    "piece", ["1", "1,", "(", "$", "1 ", "2019 ", "first and ", "[[", "-", "1.", "five ", "$5 to "]
)
def test_time_is_linear_in_the_text(piece):
    """Twelve times the text takes at most forty times as long, whatever is repeated."""
    short, long = piece * (4_000 // len(piece)), piece * (48_000 // len(piece))
    scan(short)
    first = _seconds(short)
    assert _seconds(long) < max(40 * first, 1.0)


def _seconds(text):
    began = time.perf_counter()
    scan(text)
    return time.perf_counter() - began
