"""References become figures with sources, or problems; nothing else."""

import pytest

from pelton.producers.reports.figures import parse_table, render

ROWS = [
    ["(in millions)", "2019", "2018", "Margin"],
    ["Sales", "$1,496.5", "$1,202.9", "4.00%"],
    ["Other", "44.1", "56.7", "3.75%"],
    ["Loss", "(5.5)", "2.0", "1%"],
    ["None", "0", "0", "0%"],
    ["Staff (number of employees)", "10", "12", "2%"],
    ["Balance", "(2)", "(3)", "(1%)"],
    ["Costs", "(2)", "(3)", "(1%)"],
]
TABLE = parse_table(ROWS)


def rendered(text):
    return render(text, [TABLE])


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("[[T1.r2.c2]]", "$1,496.5 million"),
        ("[[T1.r4.c2]]", "-$5.5 million"),
        ("[[T1.r2.c4]]", "4.00%"),
        ("[[T1.c2]]", "2019"),
        ("[[sum T1.r2.c2 T1.r3.c2]]", "$1,540.6 million"),
        ("[[diff T1.r3.c2 T1.r3.c3]]", "-$12.6 million"),
        ("[[diff T1.r2.c4 T1.r3.c4]]", "0.25 percentage points"),
        ("[[pct T1.r3.c2 T1.r3.c3]]", "-22.2%"),
        ("[[ratio T1.r2.c2 T1.r3.c2]]", "33.93x"),
        ("[[pct T1.r8.c2 T1.r8.c3]]", "-33.3%"),
        ("[[avg T1.r3.c2 T1.r3.c3]]", "$50.40 million"),
        ("[[share T1.r3.c2 T1.r2.c2]]", "2.9%"),
    ],
)
def test_a_reference_is_computed_and_printed(reference, text):
    """With its unit and scale, and with the sources it was computed from."""
    result = rendered(f"It was {reference} then.")
    (figure,) = result.figures
    assert result.text == f"It was {text} then."
    assert result.text[figure.start : figure.end] == figure.text == text
    assert figure.sources
    assert not result.problems


def test_a_figure_tells_label_period_formula_and_sources():
    (figure,) = rendered("[[pct T1.r2.c2 T1.r2.c3]]").figures
    assert (figure.label, figure.period, figure.operation) == ("Sales", "2019; 2018", "pct")
    assert figure.formula == "($1,496.5 million - $1,202.9 million) / $1,202.9 million"
    assert [source.quote for source in figure.sources] == ["$1,496.5", "$1,202.9"]


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ("[[T9.r1.c1]]", "unknown_cell"),
        ("[[T1.c99]]", "unknown_cell"),
        ("[[T1.r2.c1]]", "not_a_number"),
        ("[[foo T1.r2.c2]]", "unknown_operation"),
        ("[[pct T1.r2.c2]]", "arity"),
        ("[[]]", "syntax"),
        ("[[T1.r2.c2 now]]", "syntax"),
        ("[[sum T1.r2.c2 T1.r2.c4]]", "mixed_units"),
        ("[[ratio T1.r2.c2 T1.r5.c2]]", "division_by_zero"),
        ("[[pct T1.r4.c3 T1.r4.c2]]", "sign_change"),
        ("[[pct T1.r7.c2 T1.r7.c3]]", "negative_base"),
    ],
)
def test_an_impossible_reference_is_a_problem(reference, kind):
    result = rendered(f"A {reference} b")
    assert [problem.kind for problem in result.problems] == [kind]
    assert result.text == "A [figure not available] b"
    assert not result.figures


@pytest.mark.parametrize("words", ["fell by", "decreased", "was down", "declined by about"])
def test_the_sign_is_left_to_the_words_that_say_it(words):
    result = rendered(f"Other {words} [[pct T1.r3.c2 T1.r3.c3]].")
    assert result.text == f"Other {words} 22.2%."
    assert not result.problems


@pytest.mark.parametrize(
    "text", ["Sales fell by [[pct T1.r2.c2 T1.r2.c3]].", "Other rose by [[diff T1.r3.c2 T1.r3.c3]]."]
)
def test_words_that_contradict_the_figure_are_a_problem(text):
    assert [problem.kind for problem in rendered(text).problems] == ["direction"]


def test_a_loss_is_told_without_its_minus():
    assert rendered("a loss of [[T1.r4.c2]]").text == "a loss of $5.5 million"


@pytest.mark.parametrize("text", ["about 5 million", "in 2019", "note 5", "twenty percent", "\u0665 and ½"])
def test_numbers_in_the_prose_are_problems(text):
    """They have no source, so that they may not pass for figures."""
    result = rendered(text)
    assert not result.figures
    assert {problem.kind for problem in result.problems} <= {"digits"}
    assert result.problems


def test_a_reference_that_is_not_closed_is_a_problem():
    assert "syntax" in [problem.kind for problem in rendered("x [[T1.r2.c2 y").problems]
