"""Texts of the grammar render without a problem; texts of an adversary never make a figure without a source."""

import random
import re
import string
import time

import llguidance
import pytest

from pelton.producers.reports.figures import check, parse_table, reference_grammar, reference_regex, render

SECTIONS, STRINGS = 500, 2_500
"""`make report-fuzz` takes far more."""
LABELS = ("Sales", "Net loss", "Margin", "Shares (number of)", "Earnings per share", "Total")
TOKENIZER = llguidance.LLTokenizer("byte")


def random_table(rng, name):
    """A small table with units, scales, signs, zeros and words at random."""
    years = rng.sample(range(2010, 2024), rng.randint(1, 3))
    scale = rng.choice(["", "(in millions)", "(in thousands)", "€m", "(%)"])
    rows = [[scale, *(str(year) for year in years)]]
    rows += [[rng.choice(LABELS), *(random_cell(rng) for _ in years)] for _ in range(rng.randint(1, 4))]
    rows.append(["Anchor", *("1.5" for _ in years)])
    return parse_table(rows, id=name)


def random_cell(rng):
    number = rng.choice(["0", "12", "1,204", "3.45", "100", "0.001", "999,999,999"])
    return rng.choice(["{}", "${}", "({})", "{}%", "-{}", "£{}m", "{}x", "—", "n/a", ""]).format(number)


def sample(grammar, rng, length):
    """A random text of the grammar, byte by byte; opening brackets are made likely."""
    matcher = llguidance.LLMatcher(TOKENIZER, grammar)
    assert not matcher.get_error()
    text = bytearray()
    while len(text) < length or not matcher.is_accepting():
        forced = matcher.compute_ff_bytes()
        if forced:
            chosen = list(forced)
        else:
            mask = matcher.compute_bitmask()
            allowed = [byte for byte in range(9, 127) if mask[byte >> 3] >> (byte & 7) & 1]
            chosen = [ord("[")] if ord("[") in allowed and rng.random() < 0.2 else [rng.choice(allowed)]
        matcher.consume_tokens(chosen)
        text += bytes(chosen)
    return text.decode()


def test_every_text_of_the_grammar_renders_with_sources():
    """500 sections of nonsense: no problem but of direction, and a source for every figure and every digit."""
    rng = random.Random(20)
    figures = 0
    for _ in range(SECTIONS // 20):
        tables = [random_table(rng, "T1"), random_table(rng, "T2")]
        grammar = llguidance.LLMatcher.grammar_from_lark(reference_grammar(tables))
        for _ in range(20):
            text = sample(grammar, rng, 16)
            assert re.search(r"\d", re.sub(r"\[\[.*?\]\]", "", text)) is None
            result = render(text, tables)
            assert {problem.kind for problem in result.problems} <= {"direction"}, text
            assert all(figure.sources for figure in result.figures)
            assert_digits_have_sources(result)
            figures += len(result.figures)
    assert figures > SECTIONS


def test_adversarial_texts_neither_crash_nor_make_figures_without_a_source():
    """2,500 strings of references gone wrong, numbers and brackets, through rendering and the check."""
    rng = random.Random(21)
    tables = [random_table(rng, "T1"), random_table(rng, "T2")]
    for index in range(STRINGS):
        text = "".join(rng.choice(PIECES)(rng) for _ in range(rng.randint(1, 6)))
        result = render(text, tables)
        assert all(
            figure.sources and result.text[figure.start : figure.end] == figure.text for figure in result.figures
        )
        assert_digits_have_sources(result)
        if index % 10 == 0:
            for verdict in check(text, tables, ["Sales were $5 million in 2019."]):
                assert text[verdict.start : verdict.end] == verdict.text
                assert verdict.verdict == "unsupported" or verdict.source


def assert_digits_have_sources(result):
    """Every digit of the rendered text lies in a figure, which has sources, or in a problem."""
    covered = bytearray(len(result.text))
    for span in (*result.figures, *result.problems):
        covered[span.start : span.end] = b"\1" * (span.end - span.start)
    assert not [place for place, character in enumerate(result.text) if character.isdecimal() and not covered[place]]


def _reference(rng):
    cells = [
        f"{rng.choice('TPZ')}{rng.randint(0, 3)}.r{rng.randint(0, 7)}.c{rng.randint(0, 5)}"
        for _ in range(rng.randint(0, 4))
    ]
    operation = rng.choice(["", "value ", "sum ", "diff ", "pct ", "ratio ", "avg ", "share ", "drop ", "PCT  "])
    return (
        f"{rng.choice(['[[', '[[', '[[[', '['])}{operation}{' '.join(cells)}{rng.choice([']]', ']]', ']]]', ']', ''])}"
    )


PIECES = (
    _reference,
    _reference,
    lambda rng: "".join(rng.choice(string.printable) for _ in range(rng.randint(1, 20))),
    lambda rng: rng.choice(
        ["fell by ", "rose by ", "a loss of ", " million", "\x00", "\u0665", "½", "<script>", "{{7*7}}", "\n"]
    ),
    lambda rng: rng.choice(["${}", "({})", "{}%", "{}bn", "-{}", "Q{}", "{}-{}"]).replace(
        "{}", str(rng.randint(0, 10**9))
    ),
)


def test_nothing_to_refer_to_is_an_error():
    """A text over an empty source must not be written at all."""
    with pytest.raises(ValueError, match="no table has a numeric cell"):
        reference_grammar([parse_table([["", "2019"], ["Sales", "n/a"]])])
    with pytest.raises(ValueError, match="no table has a numeric cell"):
        reference_regex([])


def test_the_regular_expression_admits_the_same_references():
    pattern = re.compile(reference_regex([parse_table([["", "2019"], ["Sales", "5"]])]))
    assert pattern.fullmatch("Sales were [[T1.r2.c2]] in [[T1.c2]], [[sum T1.r2.c2 T1.r2.c2]].")
    assert not pattern.fullmatch("Sales were [[T1.r3.c2]].")
    assert not pattern.fullmatch("Sales were 5.")
    assert not pattern.fullmatch("[[pct T1.r2.c2]]")


@pytest.mark.parametrize("piece", ["[[", "[[T1.r2.c2", "[[T1.r2.c2]]", "]]", "fell by ", "5 "])
def test_rendering_takes_linear_time(piece):
    tables = [random_table(random.Random(1), "T1")]
    times = []
    for size in (5_000, 60_000):
        text = piece * (size // len(piece))
        began = time.perf_counter()
        render(text, tables)
        times.append(time.perf_counter() - began)
    assert times[1] < max(40 * times[0], 1.0)
