"""The check of free text keeps what it has reached on real reports."""

import json

from benchmarks.figures import _DATA, _half, measure


def test_true_figures_are_kept_and_altered_ones_flagged():
    """At least 95 % of both, and of each kind of alteration, on the half that the rules were developed on."""
    records = [json.loads(line) for line in _DATA.read_text(encoding="utf-8").splitlines()]
    result = measure(records, _half(len(records), "developed"), wrong=False)
    assert result["true_kept"] >= 95
    assert all(kind["share"] >= 95 for name, kind in result["kinds"].items() if name != "true")
