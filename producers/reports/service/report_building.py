"""The report of a finished job, and the short one of a job that failed or was cancelled."""

import hashlib
import re
from collections.abc import Iterator

from pelton.producers.reports import figures
from pelton.producers.reports.assembly.report import (
    CellSource,
    Finding,
    JobState,
    Note,
    Provenance,
    Report,
    ReportFigure,
    ReportSection,
    ReportSource,
    ReportTable,
)
from pelton.producers.reports.planning.materials import Excerpt
from pelton.producers.reports.service.job_run import Finished, JobRun, Submission
from pelton.producers.reports.spec.model import JobSpec, SectionSpec, SourceSpec

MAX_PROMPT_SHOWN = 20_000
MAX_TABLE_ROWS = 200
"""Of a table in the report; figures from rows below still quote their cell."""


def build_report(run: JobRun, now_ms: int) -> Report:
    """All of a job whose nodes are finished."""
    job = run.plan.job
    made = {
        "sections": tuple(_section(run, section) for section in job.sections),
        "tables": tuple(_tables(run)),
        "sources": tuple(_source(run, source) for source in job.sources),
        "formats": job.formats,
    }
    return _bare_report(run.submission, job, JobState.DONE, now_ms).model_copy(update=made)


def failed_report(  # noqa: PLR0913, PLR0917  # what is known of a job that has no report
    submission: Submission, job: JobSpec | None, state: JobState, code: str, message: str, now_ms: int
) -> Report:
    error = {"code": code, "message": message}
    return _bare_report(submission, job, state, now_ms).model_copy(update={"error": error})


def _bare_report(submission: Submission, job: JobSpec | None, state: JobState, now_ms: int) -> Report:
    """The names and times that every report has; those of the job are empty where it could not be read."""
    return Report(
        id=submission.job_id,
        run=submission.run,
        state=state,
        title=job.title if job else "",
        entity=job.entity if job else "",
        period=job.period if job else "",
        created_ms=submission.created_ms,
        finished_ms=now_ms,
    )


def _section(run: JobRun, section: SectionSpec) -> ReportSection:
    finished = run.finished[section.id]
    node = run.plan.nodes[section.id]
    outcome = finished.outcome
    notes = [run.plan.nodes[needed] for needed in node.needs if run.plan.nodes[needed].part is not None]
    return ReportSection(
        id=section.id,
        title=section.title,
        mode=section.figures,
        text=outcome.text,
        figures=tuple(_figure(figure, node.excerpt) for figure in outcome.figures),
        findings=(*map(_of_problem, outcome.problems), *map(_of_verdict, outcome.verdicts)),
        flagged=outcome.faults > run.plan.job.max_unsupported,
        chart=_chart(section, node.excerpt),
        notes=tuple(
            Note(id=one.id, text=run.finished[one.id].outcome.text, provenance=_provenance(run.finished[one.id]))
            for one in notes
        ),
        provenance=_provenance(finished),
    )


def _figure(figure: figures.Figure, excerpt: Excerpt) -> ReportFigure:
    return ReportFigure(
        text=figure.text,
        start=figure.start,
        end=figure.end,
        operation=figure.operation,
        label=figure.label,
        period=figure.period,
        formula=figure.formula,
        sources=tuple(_cell(source, excerpt) for source in figure.sources),
        names_period=all(_COLUMN.fullmatch(source.id) for source in figure.sources),
    )


def _cell(source: figures.Source, excerpt: Excerpt) -> CellSource:
    bare = CellSource(quote=source.quote, label=source.label, period=source.period)
    table, *rest = source.id.split(".")
    place = excerpt.place_of(table)
    if place is None:
        return bare
    row, column = (int(part[1:]) - 1 for part in rest) if len(rest) == _ROW_AND_COLUMN else (-1, -1)
    return bare.model_copy(update={"table": _table_id(place.source, place.table), "row": row, "column": column})


_ROW_AND_COLUMN = 2
_COLUMN = re.compile(r"T[0-9]+\.c[0-9]+")


def _of_problem(problem: figures.Problem) -> Finding:
    return Finding(text=problem.text, start=problem.start, end=problem.end, verdict=problem.kind, reason=problem.detail)


def _of_verdict(verdict: figures.Verdict) -> Finding:
    return Finding(
        text=verdict.text,
        start=verdict.start,
        end=verdict.end,
        verdict=verdict.verdict,
        source=verdict.source,
        formula=verdict.formula,
        reason=verdict.reason,
    )


def _chart(section: SectionSpec, excerpt: Excerpt) -> str:
    if not section.chart or not excerpt.grids:
        return ""
    place, _ = excerpt.grids[0]
    return _table_id(place.source, place.table)


def _provenance(finished: Finished) -> Provenance:
    prompt = finished.request.messages[-1]["content"]
    return Provenance(
        **finished.draft.provenance,
        fingerprint=finished.request.fingerprint,
        revised=finished.revised,
        prompt=prompt[:MAX_PROMPT_SHOWN],
    )


def _tables(run: JobRun) -> Iterator[ReportTable]:
    for document in run.plan.materials.documents.values():
        for number, grid in enumerate(document.grids):
            rows = grid.rows[:MAX_TABLE_ROWS]
            yield ReportTable(
                id=_table_id(document.name, number), source=document.name, caption=grid.caption, rows=rows
            )


def _table_id(source: str, number: int) -> str:
    return f"{source}-{number + 1}"


def _source(run: JobRun, source: SourceSpec) -> ReportSource:
    document = run.plan.materials.documents[source.name]
    content = (source.content or "").encode()
    return ReportSource(
        name=source.name,
        title=document.title,
        format=str(source.format),
        sha256=hashlib.sha256(content).hexdigest(),
        characters=len(source.content or ""),
        tables=len(document.grids),
    )
