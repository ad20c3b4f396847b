"""From a job to requests: templates, dependencies, notes of long sources, and what changes a fingerprint."""

import re
from pathlib import Path

import pytest

from pelton.producers.reports.errors import JobInvalid
from pelton.producers.reports.planning.materials import Materials
from pelton.producers.reports.planning.plan import Plan
from pelton.producers.reports.sources.reading import read_source
from pelton.producers.reports.spec.model import FigureMode, JobSpec, SourceSpec
from pelton.producers.reports.spec.reading import built_in_names, find_template, read_job
from pelton.producers.reports.spec.schema import job_schema

SAMPLES = Path(__file__).parents[4] / "pelton" / "reports" / "samples"


@pytest.mark.parametrize("name", ["earnings", "risk", "market"])
def test_the_samples_can_be_planned(name):
    """Each sample job has a plan, and its sections by reference are held to existing cells."""
    plan = Plan(read_job(SAMPLES / f"{name}.yaml"))
    for node in plan.nodes.values():
        request = plan.request(node.id, dict.fromkeys(node.needs, "text"))
        assert "structured_outputs" in request.body


def test_built_in_templates():
    """All three are there."""
    assert built_in_names() == ["earnings-summary", "market-brief", "risk-brief"]


def test_a_template_is_added_by_a_file(tmp_path):
    """A file in the folder of the user's templates is a kind of report."""
    text = "name: mine\ntitle: Mine\nsystem: S\nsections:\n- {id: a, title: A, prompt: P, figures: 'off'}\n"
    (tmp_path / "mine.yaml").write_text(text)
    assert find_template("mine", tmp_path / "elsewhere", tmp_path).title == "Mine"
    with pytest.raises(JobInvalid, match="no report template 'other'"):
        find_template("other", tmp_path, tmp_path)


def test_the_schema_knows_every_field():
    """The published schema describes the job and refuses unknown fields."""
    schema = job_schema()
    assert set(schema["properties"]) == set(JobSpec.model_fields)
    assert schema["additionalProperties"] is False


def test_fingerprints_change_with_what_they_depend_on(make_job):
    """The same job has the same fingerprints; another tenant, id, source or model has others."""

    def fingerprint(job: JobSpec, tenant: str = "") -> str:
        return Plan(job, tenant).request("s0", {}).fingerprint

    job = make_job(1)
    first = fingerprint(job)
    assert fingerprint(make_job(1)) == first
    others = [
        fingerprint(job, "tenant"),
        fingerprint(make_job(1, id="other")),
        fingerprint(make_job(1, table="a,b\n1,2\n3,4\n")),
        fingerprint(make_job(1, model={"model": "other"})),
        fingerprint(make_job(1, model={"max_tokens": 7})),
    ]
    assert len({first, *others}) == 6


def long_job(make_job, figures: str) -> JobSpec:
    text = "\n\n".join(f"Paragraph {number} says that much has happened in the year. " * 8 for number in range(40))
    rows = "".join(f"Item {number},{number},{number + 1}\n" for number in range(200))
    job = make_job(1, table=f"item,2019,2018\n{rows}", model={"max_prompt_chars": 4_000})
    source = job.sources[0].model_copy(update={"name": "text", "format": "text", "content": text})
    section = job.sections[0].model_copy(update={"figures": FigureMode(figures)})
    return job.model_copy(update={"sources": (*job.sources, source), "sections": (section,)})


@pytest.mark.parametrize("mode", ["off", "reference"])
def test_long_sources_become_notes(make_job, mode):
    """Sources over the limit are read in parts of that size, which have all of their text; the section is written from
    the notes.
    """
    plan = Plan(long_job(make_job, mode))
    parts = [node for node in plan.nodes.values() if node.part is not None]
    assert len(parts) > 3
    prompts = [plan.request(part.id, {}).messages[-1]["content"] for part in parts]
    assert max(map(len, prompts)) < 5_000
    assert all(any(f"Paragraph {number} says" in prompt for prompt in prompts) for number in range(40))
    assert all(any(f"| Item {number} |" in prompt for prompt in prompts) for number in range(200))
    notes = {part.id: f"note {part.part}" for part in parts}
    request = plan.request("s0", notes)
    assert "note 1\n\nnote 2" in request.messages[-1]["content"]
    assert len(request.messages[-1]["content"]) < 8_000


def test_notes_run_through_the_service(make_job, shore):
    """Notes are made first, then the section; the report keeps the trace."""
    shore.submit(long_job(make_job, "off"))
    shore.run_out()
    (report,) = shore.reports
    (section,) = report.sections
    assert len(section.notes) > 3
    assert all(note.text for note in section.notes)


def test_parts_keep_table_heads(make_job):
    """A table that is cut keeps its first row in each part, and loses none."""
    section = long_job(make_job, "off").sections[0]
    excerpt = Materials(long_job(make_job, "off")).excerpt(section)
    grids = [grid for part in excerpt.split(1_000) for _, grid in part.grids]
    assert len(grids) > 3
    assert {grid.rows[0] for grid in grids} == {("item", "2019", "2018")}
    assert sum(len(grid.rows) - 1 for grid in grids) == 200


def test_an_unsupported_number_is_written_again_once(make_job, shore, text_reply):
    """A text with numbers that no source has is asked for again with the findings, once, then flagged."""
    job = make_job(1)
    section = job.sections[0].model_copy(update={"figures": FigureMode.CHECKED})
    shore.submit(job.model_copy(update={"sections": (section,)}))
    (first,) = shore.commit()
    shore.answer(first, text_reply("Sales were 777 and costs 700 in 2019."))
    (second,) = shore.commit()
    assert "'777'" in second.body["messages"][-1]["content"]
    shore.restart()
    assert shore.commit() == []
    shore.answer(second, text_reply("Sales were 778 in 2019."))
    shore.commit()
    (report,) = shore.reports
    assert report.sections[0].flagged
    assert report.sections[0].provenance.revised
    assert len(shore.requests) == 2


def test_references_are_rendered_with_their_sources(make_job, shore, text_reply):
    """A reference becomes the cell's value, and the report says where it stands."""
    job = make_job(1)
    section = job.sections[0].model_copy(update={"figures": FigureMode.REFERENCE})
    shore.submit(job.model_copy(update={"sections": (section,)}))
    (request,) = shore.commit()
    shore.answer(request, text_reply("Sales rose by [[pct T1.r2.c2 T1.r2.c3]] to [[T1.r2.c2]]."))
    shore.commit()
    (found,) = shore.reports[0].sections
    assert not found.flagged
    assert "20" in found.figures[0].text
    assert "1,200" in found.figures[1].text
    source = found.figures[1].sources[0]
    assert (source.table, source.row, source.column) == ("table-1", 1, 1)
    assert shore.reports[0].tables[0].rows[source.row][source.column] == "1200"


def test_an_ixbrl_filing_is_read_by_its_tags():
    """What a filing tags becomes a table with scale, unit and period; the text stays beside it."""
    page = (
        '<html xmlns="http://www.w3.org/1999/xhtml" xmlns:ix="http://www.xbrl.org/2013/inlineXBRL" '
        'xmlns:xbrli="http://www.xbrl.org/2003/instance"><body><ix:header><ix:resources><xbrli:context id="c">'
        "<xbrli:period><xbrli:instant>2019-12-31</xbrli:instant></xbrli:period></xbrli:context><xbrli:unit id='u'>"
        "<xbrli:measure>iso4217:USD</xbrli:measure></xbrli:unit></ix:resources></ix:header><p>Sales were "
        '<ix:nonFraction name="x:Revenues" contextRef="c" unitRef="u" scale="6" decimals="-6">1,204</ix:nonFraction>'
        " in the year.</p></body></html>"
    )
    document = read_source(SourceSpec(name="filing", format="ixbrl", content=page))
    assert document.grids[0].rows[1] == ("Revenues", "$1,204 million")
    assert document.paragraphs == ["Sales were 1,204 in the year."]


def test_the_guides_job(tmp_path):
    """Who copies it has a job, with a chart, and a section whose figures are references."""
    guide = (Path(__file__).parents[4] / "docs" / "guides" / "reports.md").read_text()
    for language, name in (("yaml", "job.yaml"), ("csv", "result.csv")):
        found = re.search(rf"^```{language}\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
        assert found is not None
        (tmp_path / name).write_text(found[1])
    plan = Plan(read_job(tmp_path / "job.yaml"))
    assert list(plan.nodes) == ["results", "summary"]
    body = plan.request("results", {}).body
    assert "came to [[T1." in body["structured_outputs"]["grammar"]


def test_a_unit_of_the_job_counts_in_its_figures():
    """A table that says nothing of it is read in the source's `unit`; one that does is not."""
    plain = {"name": "a", "format": "csv", "content": "Item,2019\nSales,1200\nCosts,700\n", "unit": "USD millions"}
    told = plain | {"content": "EUR thousands,2019\nSales,1200\nCosts,700\n"}
    for source, shown in ((plain, "$1,200 million"), (told, "€1,200 thousand")):
        job = {
            "entity": "A",
            "period": "P",
            "sources": [source],
            "sections": [{"id": "s", "title": "S", "prompt": "x"}],
        }
        plan = Plan(JobSpec.model_validate(job))
        text = plan.judge("s", "Sales: [[T1.r2.c2]].").text
        assert text == f"Sales: {shown}."
