"""What benchmarks make of what they measured: slopes, traces, tables and pages that say no more than was seen."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.ablation.__main__ import Found, rows
from benchmarks.ablation.stages import STAGES
from benchmarks.ablation.workload import questions
from benchmarks.backlog import Course, ratios
from benchmarks.reporting.page import Part, page
from benchmarks.reporting.resources import Usage
from benchmarks.soak import Soak, bound_mib_per_h, slope_mib_per_h
from benchmarks.suite.__main__ import drawings, ended
from benchmarks.support.data import DATA, PROSE, TATQA
from benchmarks.trace_replay import read_trace
from pelton.pipeline.wire.decoding import decode_request
from pelton.workers.prepare.simulated_codec import SimulatedCodec

HOUR_S = 3600


def usage(rss_mib: list[float]) -> Usage:
    """Looked at once a minute."""
    return Usage(1, [60.0 * index for index in range(len(rss_mib))], rss_mib, [0.0] * len(rss_mib))


@given(
    per_hour=st.floats(-100, 100),
    peaks=st.lists(st.tuples(st.integers(0, 59), st.floats(0, 500)), max_size=6),
)
def test_single_peaks_do_not_move_a_slope_far(per_hour: float, peaks: list[tuple[int, float]]) -> None:
    """Six samples of sixty, however high, move it by less than 20 MiB/h; without them it is exact."""
    line = [300 + per_hour * minute / 60 for minute in range(60)]
    assert slope_mib_per_h(usage(line)) == pytest.approx(per_hour, abs=1e-6)
    for minute, height in peaks:
        line[minute] += height
    assert abs(slope_mib_per_h(usage(line)) - per_hour) < max(20, abs(per_hour))


def test_what_grows_while_caches_fill_is_no_leak() -> None:
    """The first third is not looked at; what goes on growing afterwards is."""
    filling = [100.0 + 20 * min(minute, 15) for minute in range(60)]
    assert slope_mib_per_h(usage(filling)) == 0
    leaking = [100.0 + 2 * minute for minute in range(60)]
    assert slope_mib_per_h(usage(leaking)) == pytest.approx(120)


@pytest.mark.parametrize(
    ("errors", "status", "per_minute", "sound"),
    [([], 0, 0.05, True), (["lost"], 0, 0, False), ([], 1, 0, False), ([], 0, 0.1, False)],
    ids=["sound", "an-error", "an-exit-status", "growth"],
)
def test_a_soak_is_sound_where_all_of_it_is(errors: list[str], status: int, per_minute: float, sound: bool) -> None:
    """Five MiB an hour are flat, six are not."""
    line = [100.0 + per_minute * minute for minute in range(60)]
    found = Soak(1, errors, {"worker": usage(line)}, {"worker": status})
    assert found.sound is sound


def test_a_short_soak_is_flat_within_a_mib() -> None:
    """Two minutes extrapolated to an hour say little."""
    assert bound_mib_per_h(usage([100.0] * 4)) == pytest.approx(30)
    assert bound_mib_per_h(usage([100.0] * 60)) == 5


@pytest.mark.parametrize(("name", "count"), [("conv", 4_000), ("code", 2_000)])
def test_traces_are_read_whole(name: str, count: int) -> None:
    """In the order of their arrival, each body with just the tokens that the trace has."""
    arrivals = read_trace(DATA / f"azure_llm_trace_2023_{name}.csv")
    assert len(arrivals) == count
    assert arrivals[0].at_s == 0
    assert arrivals == sorted(arrivals, key=lambda arrival: arrival.at_s)
    codec = SimulatedCodec()
    for number in (0, 7, count - 1):
        request = decode_request(arrivals[number].body(number), max_bytes=1_000_000)
        (tokens,) = codec.encode([codec.render(request.messages)])
        assert len(tokens) == arrivals[number].prompt_tokens
        assert request.new_tokens == arrivals[number].answer_tokens


def test_stages_that_cannot_be_shown_have_no_figures() -> None:
    """The gain of the one after is over the last that was measured."""
    serial, decoupled, padded, *_ = STAGES
    shown = rows(
        [Found(serial, 10.0, 1.0, 2.0), Found(decoupled, reason="no such device"), Found(padded, 30.0, 1.0, 2.0)]
    )
    assert shown[1][1] == "no such device"
    assert shown[2][2:4] == ["3.00x", "3.00x"]


def test_questions_are_the_same_each_time() -> None:
    """A quarter are asked again, and all begin alike."""
    asked = questions(400)
    assert asked == questions(400)
    assert 0.65 < len(set(asked)) / len(asked) < 0.85
    assert len({question.system for question in asked}) == 1


def test_pages_escape_what_they_are_given() -> None:
    written = page("<i>", [Part("<i>", ["<i>"], ["<i>"], [["<i>"]], output="<i>")])
    assert "<i>" not in written
    assert written.count("&lt;i&gt;") == 7


def test_columns_of_figures_are_told_from_words() -> None:
    """Also where a cell is empty, or says why there is no figure."""
    rows = [
        ("serial", "5.2", "1.00x", "36.9x the throughput"),
        ("none", "not here", "", "a"),
        ("last", "+1.6", "91%", ""),
    ]
    assert Part("A", (), ("a", "b", "c", "d"), rows).kinds == ["words", "figure", "figure", "words"]


def test_drawings_are_found_in_a_page() -> None:
    found = drawings("<p>a</p><svg x><g></g></svg><p>b</p><svg y></svg>")
    assert [figure.svg for figure in found] == ["<svg x><g></g></svg>", "<svg y></svg>"]


@pytest.mark.parametrize(
    ("status", "printed", "failed"),
    [(0, 'table\n{"a":1}\n', False), (1, 'table\n{"a":1}\n', True), (1, "", True), (0, "table\n", True)],
    ids=["well", "does-not-hold", "nothing-printed", "no-json"],
)
def test_a_report_names_what_did_not_hold(status: int, printed: str, failed: bool) -> None:
    """Also where a benchmark prints all its figures and then exits with 1."""
    part, found = ended("soak", ["shows"], subprocess.CompletedProcess([], status, printed, "why"), [])
    assert ("failed" in found) is failed
    assert (len(part.paragraphs) == 2) is failed
    assert ("why" in part.output) is failed


def test_what_a_backlog_took_in_truth() -> None:
    """Until as many replies were there as requests had been sent by then; unknown where that was never seen."""
    course = Course(sent=[(0.0, 10), (4.0, 30)], answered=[(2.0, 4), (6.0, 12), (20.0, 30)])
    assert course.unanswered == 0
    assert [course.truth(at) for at in (1.0, 3.0, 5.0, 21.0)] == [5.0, 3.0, 15.0, 0.0]
    assert Course(sent=[(0.0, 10)], answered=[(2.0, 4)]).truth(1.0) is None
    shown = Course(sent=course.sent, answered=course.answered, shown=[(1.0, 10, 4.0), (5.0, 22, 18.0), (19.0, 3, 9.0)])
    assert ratios(shown) == [4.0 / 5.0, 18.0 / 15.0]
    assert ratios(shown, since=4.0) == [18.0 / 15.0]


def test_what_benchmarks_read_is_there() -> None:
    """A benchmark that moved to another folder ended with `FileNotFoundError` after a minute of loading."""
    assert {path for path in (PROSE, TATQA) if path.is_file()} == {PROSE, TATQA}
