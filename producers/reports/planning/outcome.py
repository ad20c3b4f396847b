"""What a section's text is worth: references rendered, numbers checked, and what to say when it must be rewritten.

Pure: the same raw text over the same material always has the same outcome, so only raw texts need to be stored.
"""

from dataclasses import dataclass

from pelton.producers.reports import figures as figure_tools
from pelton.producers.reports.figures import UNSUPPORTED, Figure, Problem, Verdict
from pelton.producers.reports.planning.materials import Excerpt
from pelton.producers.reports.spec.model import FigureMode

MAX_FINDINGS_TOLD = 12


@dataclass(frozen=True, slots=True)
class Outcome:
    """A section's text as the report shows it.

    `figures` are rendered references; `problems` what was wrong with references; `verdicts` what the check of free text
    found. Offsets count characters of `text`.
    """

    text: str
    figures: tuple[Figure, ...] = ()
    problems: tuple[Problem, ...] = ()
    verdicts: tuple[Verdict, ...] = ()

    @property
    def faults(self) -> int:
        """Numbers without a source, and references that could not be rendered."""
        return len(self.problems) + sum(verdict.verdict == UNSUPPORTED for verdict in self.verdicts)

    def findings(self) -> str:
        """The faults as lines for the prompt that asks for a better text."""
        told = [f"- {problem.text!r}: {problem.detail or problem.kind}" for problem in self.problems]
        told += [
            f"- {verdict.text!r}: {verdict.reason or 'not in the material'}"
            for verdict in self.verdicts
            if verdict.verdict == UNSUPPORTED
        ]
        return "\n".join(told[:MAX_FINDINGS_TOLD])


def judge(raw: str, mode: FigureMode, excerpt: Excerpt) -> Outcome:
    """The outcome of what the model wrote. Never raises: whatever it wrote is text."""
    raw = raw.strip()
    if mode is FigureMode.REFERENCE:
        rendered = figure_tools.render(raw, excerpt.tables)
        return Outcome(rendered.text, rendered.figures, rendered.problems)
    if mode is FigureMode.CHECKED:
        verdicts = figure_tools.check(raw, excerpt.tables, excerpt.paragraphs)
        return Outcome(raw, verdicts=tuple(verdicts))
    return Outcome(raw)
