"""Sums, shares and changes over several rows or columns, counts, products and what accounts define by one another."""

import pytest

from pelton.producers.reports.figures import DERIVED, UNSUPPORTED, Checker

DAIRY = [
    ["(in millions of euros)", "2021", "2020"],
    ["Whole milk", "12.4", "10.1"],
    ["Cheese and butter", "5.3", "8.8"],
    ["Yoghurt (1)", "7.1", "3.8"],
    ["Ice", "2.1", "1.8"],
    ["Total dairy", "26.9", "24.5"],
    ["Operating profit", "4.4", "3.9"],
]
RESULT = [["(in millions)", "2021", "2020"], ["Revenue", "26.9", "24.5"], ["Operating income", "4.4", "3.9"]]
AWARDS = [
    ["", "Number of shares", "Weighted-average price ($)"],
    ["Outstanding at January 1, 2021", "5,000", "10.00"],
    ["Granted", "1,250", "12.40"],
    ["Vested", "(730)", "11.10"],
    ["Outstanding at December 31, 2021", "5,520", "10.40"],
]
OFFICERS = [["Name", "Age", "Position"], ["Ada Lund", "47", "Chair"], ["Bruno Keller", "52", "Chief executive"],
            ["Emi Sato", "39", "Counsel"]]  # fmt: skip
SEGMENTS = [
    ["€ million", "Nordics", "Iberia", "Asia", "Group"],
    ["Fares", "120.4", "80.3", "40.2", "240.9"],
    ["Cargo", "30.1", "20.5", "10.6", "61.2"],
]


def verdict(table, text, *paragraphs):
    """The verdict on the last number of the text."""
    return Checker.of([table], paragraphs).check(text)[-1].verdict


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (DAIRY, "What do ice, cheese and butter and yoghurt sum to in 2021? 14.5 million"),
        (DAIRY, "What share of total dairy were ice and yoghurt in 2020? 22.86%"),
        (DAIRY, "What was total dairy excluding ice in 2021? 24.8 million"),
        (DAIRY, "What was the percentage change in the total of whole milk and ice from 2020 to 2021? 21.85%"),
        (DAIRY, "How many items of total dairy were above 5 million in 2021? 3"),
        (RESULT, "What were the total expenses in 2021? 22.5 million"),
        (SEGMENTS, "What is the total of fares and cargo in Iberia? 100.8 million"),
        (SEGMENTS, "What was the average of fares and cargo for the Group? 151.05 million"),
        (AWARDS, "What is the total value of the shares granted? 15,500"),
        (AWARDS, "What is the total value of the shares vested? $8,103"),
        (OFFICERS, "What is the average age of the officers? 46"),
        (OFFICERS, "How many officers are listed in the table? 3"),
        (DAIRY, "From 2020 to 2021 whole milk climbed by 2.3 million"),
    ],
)
def test_what_several_cells_give_is_derived(table, text):
    text_of_officers = "The officers of the company are listed in the table."
    assert verdict(table, text, text_of_officers) == DERIVED


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (DAIRY, "What do ice, cheese and butter and yoghurt sum to in 2021? 14.6 million"),
        (DAIRY, "What do ice, cheese and butter and yoghurt sum to in 2020? 14.5 million"),
        (DAIRY, "What share of total dairy were ice and yoghurt in 2021? 22.86%"),
        (DAIRY, "What was total dairy excluding ice in 2021? -24.8 million"),
        (DAIRY, "What was the percentage change in the total of whole milk and ice from 2020 to 2022? 21.85%"),
        (DAIRY, "What was the change in whole milk from 2020 to 2020? 2.3 million"),
        (DAIRY, "How many items of total dairy were above 5 million in 2021? 4"),
        (RESULT, "What were the total expenses in 2020? 22.5 million"),
        (AWARDS, "What is the total value of the shares granted? 15,400"),
        (OFFICERS, "What is the average age of the officers? 47.5"),
        (OFFICERS, "How many officers are listed in the table? 4"),
        (DAIRY, "From 2020 to 2021 whole milk slipped by 2.3 million"),
    ],
)
def test_what_they_do_not_give_is_flagged(table, text):
    text_of_officers = "The officers of the company are listed in the table."
    assert verdict(table, text, text_of_officers) == UNSUPPORTED


def test_money_for_each_of_the_things():
    table = [["(in thousands)", "2019"], ["Termination costs", "$5,300"]]
    told = "The plan affects 1,060 employees in 2019."
    assert verdict(table, "What were termination costs per employee in 2019? $5.0 thousand", told) == DERIVED
    assert verdict(table, "What were termination costs per employee in 2019? $7.0 thousand", told) == UNSUPPORTED


def test_a_sign_belongs_to_the_digits_behind_it():
    """ "2021 €24.8" is a year and an amount."""
    checker = Checker.of([DAIRY], [])
    (only,) = checker.check("Total dairy came in 2021 to €26.9 million; in 2021 €26.9 million.")[-1:]
    assert only.text == "€26.9 million"
