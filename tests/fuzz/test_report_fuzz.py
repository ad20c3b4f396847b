"""Sections of nonsense and of hostile prompts, some dozens of each: a taste of `make report-fuzz`."""

from collections.abc import Iterator

import pytest
import torch

from pelton.producers.reports.figures import Figure
from pelton.producers.reports.planning import outcome
from tests.fuzz.report_fuzz import Untraced, sections_of
from tests.fuzz.report_writers import nonsense, simulated


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The matrices of the model of random weights are so small that threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_nonsense_under_the_grammar_has_only_figures_with_sources() -> None:
    """Whatever a model of random weights writes, each figure of the report is traced."""
    found = sections_of("random model", nonsense(64, 1), 32, 2)
    assert found["figures"] > 0


def test_hostile_jobs_have_only_figures_with_sources() -> None:
    """Whatever sources and prompts say, nothing crashes, and each figure of the report is traced."""
    found = sections_of("simulated engine", simulated(), 200, 2)
    assert found["figures"] > 0
    assert found["jobs refused"] < found["sections"]


def test_a_figure_without_a_source_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run sees what it looks for."""

    def judged(raw: str, *_: object) -> outcome.Outcome:
        return outcome.Outcome(raw, (Figure(raw[:1], 0, 1, "", "value", "", "", "", ()),))

    monkeypatch.setattr("pelton.producers.reports.planning.plan.judge", judged)
    with pytest.raises(Untraced, match="has no source"):
        sections_of("simulated engine", simulated(), 8, 2)
