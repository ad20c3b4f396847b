"""The measurement of chosen cells counts what it says."""

import pytest

from benchmarks.references.asked import CELL, FORMS, SENTENCE, asked_of, grammar_of
from benchmarks.references.shares import Share, shares
from benchmarks.support.data import TATQA
from pelton.workers.engine.grammars.compiler import GrammarCompiler
from pelton.workers.engine.grammars.spec import GrammarKind, GrammarSpec
from pelton.workers.engine.grammars.vocabulary import of_bytes

ASKED = list(asked_of(TATQA))


def test_right_and_wrong_answers_are_told_apart():
    """Gold answers are all right; another column of the row is a right row; prose without a figure is no answer."""
    assert len(ASKED) > 100
    gold = shares(ASKED, [f"[[{one.cell.id}]]" for one in ASKED])
    assert all(share.right == share.of == len(ASKED) for share in gold.values())
    one = next(one for one in ASKED if len([cell for cell in one.table.numeric if cell.row == one.cell.row]) > 1)
    other = next(cell for cell in one.table.numeric if cell.row == one.cell.row and cell.id != one.cell.id)
    beside = shares([one, one], [f"It was [[{other.id}]].", "Nobody knows."])
    assert [(beside[name].right, beside[name].of) for name in ("cell", "row", "column")] == [(0, 1), (1, 1), (0, 1)]
    computed = shares([one], [f"[[sum {one.cell.id} {other.id}]]"])
    assert computed["cell"].right == 0


def test_the_interval_holds_at_the_ends():
    """None right does not mean that none ever will be."""
    low, high = Share(0, 40, 0.1).interval
    assert low == 0
    assert 0.05 < high < 0.15


@pytest.mark.parametrize("form", FORMS)
def test_grammars_can_be_compiled(form):
    """Each form is a grammar that the engine takes."""
    grammar = grammar_of(form, ASKED[0].table)
    GrammarCompiler(of_bytes).compile(GrammarSpec(GrammarKind.LARK, grammar))
    if form in {CELL, SENTENCE}:
        assert grammar.count("|") == len(ASKED[0].table.numeric) - 1
