"""`make report-fuzz`: 2,000 sections by a model that writes nonsense, 10,000 hostile prompts to the simulated engine.

Each goes the whole way of a section: job, plan, prompt, grammar, engine, rendering and check, report, HTML. No figure
may be without a source, no digit of a section by reference outside of figures and findings, and nothing may crash.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import count
from random import Random

import torch

from pelton.producers.reports.assembly.html import to_page
from pelton.producers.reports.assembly.markdown import to_markdown
from pelton.producers.reports.assembly.report import Report, ReportSection
from pelton.producers.reports.errors import JobInvalid, PromptUnusable, SourceUnusable
from pelton.producers.reports.planning.plan import Plan
from pelton.producers.reports.planning.tidy import tidy
from pelton.producers.reports.service.job_run import Finished, JobRun, Submission
from pelton.producers.reports.service.records import Draft
from pelton.producers.reports.service.report_building import build_report
from pelton.producers.reports.spec.model import FigureMode, JobSpec
from tests.fuzz.hostile_jobs import SECTIONS, job
from tests.fuzz.report_writers import EngineWriter, nonsense, simulated

_REFUSALS = (JobInvalid, PromptUnusable, SourceUnusable)
_JOBS_AT_ONCE = 8


class Untraced(AssertionError):
    """A figure or digit that no source stands behind, with all that is needed to see it again."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.report_fuzz", description=__doc__)
    parser.add_argument("--sections", type=int, default=2_000, help="by the model of random weights")
    parser.add_argument("--prompts", type=int, default=10_000, help="to the simulated engine")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    torch.set_num_threads(1)  # the model's matrices are so small that threads only wait for each other
    for name, writer, sections in (
        ("random model", nonsense(SECTIONS * _JOBS_AT_ONCE, options.seed), options.sections),
        ("simulated engine", simulated(), options.prompts),
    ):
        if not sections:
            continue
        found = sections_of(name, writer, sections, options.seed)
        numbers = ", ".join(f"{count:,} {what}" for what, count in found.items())
        taken = time.monotonic() - began
        print(f"{name:17} {numbers}; no figure without a source; {taken:.0f} s", flush=True)  # noqa: T201  # the result
    return 0


def sections_of(name: str, writer: EngineWriter, sections: int, seed: int) -> Counter[str]:
    """Has that many sections written and looks at them; counts what was found. Raises `Untraced`."""
    found: Counter[str] = Counter()
    cases = count()
    while found["sections"] < sections:
        runs = dict(_admitted(name, seed, cases, found))
        while waiting := [(run, node) for run in runs.values() for node in run.ready()]:
            requests = [run.plan.request(node.id, run.texts(node)) for run, node in waiting]
            for (run, node), request, written in zip(waiting, requests, writer.write(requests), strict=True):
                text = tidy(written.text, cut_off=written.cut_off)
                draft = Draft(text, {"model": name, "finish_reason": "length" if written.cut_off else "stop"})
                run.finished[node.id] = Finished(run.plan.judge(node.id, text), draft, request, revised=False)
        for case, run in runs.items():
            _look_at(f"{name}, seed {seed}, case {case}", build_report(run, 1), found)
    return found


def _admitted(name: str, seed: int, cases: Iterator[int], found: Counter[str]) -> Iterator[tuple[int, JobRun]]:
    """The next jobs that are not refused with an error of their own."""
    taken = 0
    while taken < _JOBS_AT_ONCE:
        case = next(cases)
        rng = Random(f"{name} {seed} {case}")  # to be repeated
        try:
            plan = Plan(JobSpec.model_validate(job(rng)))
        except _REFUSALS:
            found["jobs refused"] += 1
            continue
        taken += 1
        yield case, JobRun(Submission(case, "hostile", "run", b"", 1, 1), plan)


def _look_at(where: str, report: Report, found: Counter[str]) -> None:
    for section in report.sections:
        found["sections"] += 1
        found["figures"] += len(section.figures)
        found["findings"] += len(section.findings)
        _look_at_figures(where, section)
        if section.mode is FigureMode.REFERENCE:
            _look_at_digits(where, section)
    page = _Page()
    page.feed(to_page(report))
    if page.active:
        raise Untraced(f"{where}: the page has {page.active[0]}")
    to_markdown(report)
    if Report.model_validate_json(report.encode()) != report:
        raise Untraced(f"{where}: the report is not what was encoded")


def _look_at_figures(where: str, section: ReportSection) -> None:
    for figure in section.figures:
        if not figure.sources or not all(source.quote for source in figure.sources):
            raise Untraced(f"{where}: {figure.text!r} has no source")
        if section.text[figure.start : figure.end] != figure.text:
            raise Untraced(f"{where}: {figure.text!r} does not stand where it is said to")


def _look_at_digits(where: str, section: ReportSection) -> None:
    covered = bytearray(len(section.text))
    spans = [(each.start, each.end) for each in section.figures] + [(each.start, each.end) for each in section.findings]
    for start, end in spans:
        covered[start:end] = b"\1" * (end - start)
    for place, character in enumerate(section.text):
        if character.isdecimal() and not covered[place]:
            raise Untraced(f"{where}: {section.text!r} has a digit of its own at {place}")


class _Page(HTMLParser):
    """Collects what a page could act by."""

    def __init__(self) -> None:
        super().__init__()
        self.active: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        scripts = [name for name, value in attrs if name.startswith("on") or (value or "").startswith("javascript:")]
        self.active += [f"<{tag} {name}>" for name in scripts]
        if tag in {"script", "img", "iframe", "object", "embed"}:
            self.active.append(f"<{tag}>")


if __name__ == "__main__":
    sys.exit(main())
