"""Hostile input: a clear error, or inert text; never a crash, never long."""

import re
import time
import zipfile
from html.parser import HTMLParser

import pytest

from pelton.producers.reports.assembly.html import to_page
from pelton.producers.reports.assembly.markdown import to_markdown
from pelton.producers.reports.assembly.text import Mark, to_html
from pelton.producers.reports.errors import JobInvalid, PromptUnusable, SourceUnusable
from pelton.producers.reports.planning.plan import Plan
from pelton.producers.reports.planning.prompts import fill
from pelton.producers.reports.sources.reading import read_source
from pelton.producers.reports.spec.model import JobSpec, SourceSpec
from pelton.producers.reports.spec.reading import read_job

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](https://example.com/track.png)",
    '"><svg onload=alert(1)>',
    "</style><script>alert(1)</script>",
    "<a href='https://example.com'>x</a>",
    "`</code><script>alert(1)</script>`",
    "\ue0000\ue001<script>alert(1)</script>\ue002",
    "{{ 7 * 7 }} {% raw %}",
    "<iframe src=//example.com></iframe>",
    "<details open ontoggle=alert(1)>",
]


class Found(HTMLParser):
    """Notes what a browser could act upon."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs


def dangers(page: str) -> list[str]:
    found = Found()
    found.feed(page)
    bad = [tag for tag in found.tags if tag in {"script", "iframe", "img", "object", "embed", "link", "base", "form"}]
    bad += [name for name, _ in found.attributes if name.startswith("on") or name == "style"]
    return bad + [
        str(value) for name, value in found.attributes if name in {"href", "src"} and not (value or "").startswith("#")
    ]


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_a_model_wrote_is_inert(attack, shore, make_job, text_reply):
    """Whatever a model writes, and whatever a job is called, the page has no script, no handler and no outside link."""
    job = make_job(1, entity=attack, period=attack[:90], title=attack)
    section = job.sections[0].model_copy(update={"title": attack, "chart": True})
    table = f'item,2019\n"{attack.replace(chr(34), "")}",12\nOther,13\n'
    source = job.sources[0].model_copy(update={"content": table, "title": attack})
    shore.submit(job.model_copy(update={"sections": (section,), "sources": (source,)}))
    (request,) = shore.commit()
    shore.answer(request, text_reply(f"Before {attack} after, and *so* on."))
    shore.commit()
    (report,) = shore.reports
    page = to_page(report)
    assert dangers(page) == []
    assert "alert(1)" not in re.sub(r"&lt;.*?&gt;", "", page) or "<script" not in page
    assert "<script" not in to_markdown(report)


def test_marks_survive_any_text():
    """A mark stays one button around its characters, also in the middle of Markdown."""
    text = "*Sales* of **1,200** `rose` by 12 % <b>"
    start = text.index("1,200")
    html = str(to_html(text, [Mark(start, start + 5, "f1-0", "figure"), Mark(start + 2, 99, "f1-1", "figure")]))
    assert html.count("<button") == 1
    assert ">1,200</button>" in html
    assert "&lt;b&gt;" in html


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ entity.upper() }}",
        "{% for a in range(999999999) %}x{% endfor %}",
        "{{ 'x' * 999999999 }}",
        "{{ entity ~ entity }}",
        "{% set x = 1 %}{{ x }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% macro m() %}{% endmacro %}",
        "{{ entity|pprint }}",
        "{{ entity|attr('__class__') }}",
        "{{ missing }}",
        "{{ sections.nothing.text }}",
        "{% for a in s %}{% for b in s %}{% for c in s %}x{% endfor %}{% endfor %}{% endfor %}",
        "{{ entity",
        "{% if %}",
        "{% if entity %}" * 700 + "{% endif %}" * 700,
    ],
)
def test_templates_can_do_nothing_else(template):
    """Whatever is not filling in a text is refused, with the section's name, at once."""
    started = time.monotonic()
    values = {"entity": "x", "sections": [], "s": [1] * 1000}
    with pytest.raises(PromptUnusable, match="'intro'"):
        fill(template, values, section="intro")
    assert time.monotonic() - started < 5


def test_sources_are_never_templates():
    """Template syntax inside a source reaches the prompt as it stands."""
    assert fill("{{ material }}", {"material": "{{ 7 * 7 }}{% evil %}"}, section="s") == "{{ 7 * 7 }}{% evil %}"


def write(folder, source_name: str, data: bytes, job: str | None = None):
    (folder / source_name).write_bytes(data)
    text = f"entity: A\nperiod: P\nreport: risk-brief\nsources:\n  - name: filing\n    path: {source_name}\n"
    (folder / "job.yaml").write_text(job or text)
    return folder / "job.yaml"


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    """An archive is refused by its first bytes, under any name."""
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("x", b"0" * 10_000_000)
    path = write(tmp_path, "filing.html", (tmp_path / "bomb.zip").read_bytes())
    with pytest.raises(SourceUnusable, match=r"'filing'.*archive"):
        read_job(path)


def test_a_huge_source(tmp_path):
    """50 MB are refused after the limit was read, not held in memory."""
    path = write(tmp_path, "filing.html", b"<p>x" * 13_000_000)
    with pytest.raises(SourceUnusable, match=r"'filing'.*more than 4,000,000 bytes"):
        read_job(path)


@pytest.mark.parametrize("path", ["../secret.txt", "/etc/passwd", "sub/../../secret.txt"])
def test_paths_stay_in_the_folder(tmp_path, path):
    """A job cannot read what lies outside of its folder."""
    folder = tmp_path / "job"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    job = f"entity: A\nperiod: P\nreport: risk-brief\nsources:\n  - name: filing\n    path: {path}\n"
    with pytest.raises(SourceUnusable, match="outside"):
        read_job(write(folder, "x.txt", b"x", job))


def test_binary_is_no_text(tmp_path):
    path = write(tmp_path, "filing.txt", b"\xff\xfe\x00binary")
    with pytest.raises(SourceUnusable, match=r"'filing'.*UTF-8"):
        read_job(path)


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        ("html", "<table><tr><td>1</td></tr></table>" * 10_000, "500 tables"),
        ("html", "<table>" * 100_000 + "<p>text", "holds only|no text"),
        ("html", "<table><tr>" + "<td colspan=999>x" * 5_000, "columns"),
        ("html", "<table>" + "<tr><td>x" * 50_000, "rows"),
        ("html", "<div>" * 200_000, "no text"),
        ("html", "<script>" + "x" * 100_000, "no text"),
        ("csv", "a,b\n" + "1,2\n" * 10_000, "2,000 rows"),
        ("csv", "x" * 1_000_000, "field larger"),
        ("csv", ",".join("x" * 5_000), "columns"),
        ("json", "[" * 100_000, "json"),
        ("json", '{"tables": 5}', "lists"),
        ("json", '[{"a": {"b": 1}}]', "cell"),
        ("json", "[]", "no text"),
        ("csv", "", "no text"),
        ("text", "too short", "9 characters"),
        ("markdown", ">" * 50_000 + " x", "no text"),
        ("markdown", "# Only a heading", "no text"),
        ("html", "<p style='display:none'>" + "hidden " * 100, "no text"),
    ],
)
def test_sources_have_limits(kind, content, said):
    """What is too large, broken or empty ends with an error that names the source, within seconds."""
    started = time.monotonic()
    with pytest.raises(SourceUnusable, match=said) as raised:
        read_source(SourceSpec(name="filing", format=kind, content=content))
    assert "'filing'" in str(raised.value)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ("", "empty"),
        ("- a\n- b\n", "line 1"),
        ("entity: A\n", "period: is missing"),
        ("entity: A\nperiod: P\nsauces: []\n", "line 3, sauces: unknown; did you mean sources?"),
        ("entity: A\nperiod: P\nsources:\n- {nam: a}\n", "line 4, sources.0.nam: unknown; did you mean name?"),
        ("entity: A\nperiod: P\nsources: {name: a, path: x}\n", "line 3, sources: must be a list"),
        ("entity: A\nperiod: P\nentity: B\n", "line 3: entity is there twice"),
        ("entity: A: B\n", "line 1: mapping values are not allowed here: put a text that holds"),
        ("entity: A\nperiod: P\nformats: [docx]\n", "line 3, formats.0: Input should be"),
        ("entity: [A\nperiod: P\n", "line 2"),
        ("entity: &a A\nperiod: *a\n", "line 2: aliases"),
        ("entity: A\nperiod: P\nreport: nothing\nsources:\n- {name: a, path: x.txt}\n", "no report template 'nothing'"),
        ("entity: A\nperiod: P\nreport: risk-brief\nsources:\n- {name: a}\n", "line 5, sources.0: give either path"),
        ("entity: A\nperiod: P\nreport: x\nsources:\n- {name: a b, path: x}\n", "line 5, sources.0.name"),
        ("{" * 5_000, "job.yaml"),
        ("entity: !!python/object/apply:os.system [x]\n", "line 1"),
    ],
)
def test_a_bad_job_file(tmp_path, job, said):
    """An error names the file, the line and the field."""
    with pytest.raises(JobInvalid, match=re.escape(said)):
        read_job(write(tmp_path, "x.txt", b"x", job or "\n"))


def test_circles_are_refused(make_job):
    """Sections that need each other are named."""
    job = make_job(2).model_dump()
    job["sections"][0]["needs"] = ("s1",)
    with pytest.raises(ValueError, match="circle: s0, s1"):
        JobSpec.model_validate(job)


def test_figures_need_numbers(make_job):
    """A section by reference over sources without a number is refused: its figures would be made up."""
    job = make_job(1).model_dump()
    job["sections"][0]["figures"] = "reference"
    job["sources"] = [{"name": "words", "format": "text", "content": "Only words, and many of them. " * 10}]
    with pytest.raises(SourceUnusable, match=r"'s0'.*words"):
        Plan(JobSpec.model_validate(job))


def test_a_fault_is_told_once(tmp_path):
    """A list whose only item is at fault is not called too short as well."""
    with pytest.raises(JobInvalid) as raised:
        read_job(write(tmp_path, "x.txt", b"x", "entity: A\nperiod: P\nformats: [docx]\nsources: [{name: a, path: x}]"))
    assert [line.split(", ")[1] for line in str(raised.value).splitlines()] == ["line 3"]


def test_values_are_the_texts_that_stand_there(tmp_path):
    """YAML's guesses about `off`, dates, years and leading zeros change nothing of what was written."""
    job = (
        "id: 0123\nentity: 3.10\nperiod: 2019-12-31\nmax_unsupported: 2\nmetadata: {draft: no, year: 2019}\n"
        "sources: [{name: a, path: x.txt}]\n"
        "sections: [{id: 1, title: 2019, figures: off, chart: true, model: {temperature: 0.5}, prompt: x}]\n"
    )
    read = read_job(write(tmp_path, "x.txt", b"x", job))
    assert (read.id, read.entity, read.period, read.max_unsupported) == ("0123", "3.10", "2019-12-31", 2)
    assert read.metadata == {"draft": "no", "year": "2019"}
    [section] = read.sections
    assert (section.id, section.title, section.figures, section.chart) == ("1", "2019", "off", True)
    assert section.model is not None
    assert section.model.temperature == 0.5


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ("[{id: s, title: S, prompt: x, sources: [tabel]}]", "'tabel', which the job does not have: its sources are a"),
        (
            "[{id: s, title: S, prompt: x, needs: [r]}]",
            "needs 'r', which is no section of this report: its sections are s",
        ),
    ],
)
def test_names_that_lead_nowhere(tmp_path, sections, said):
    """What could be meant is listed, and no line is named that has nothing to do with it."""
    job = f"entity: A\nperiod: P\nsources: [{{name: a, path: x.txt}}]\nsections: {sections}\n"
    with pytest.raises(JobInvalid, match=re.escape(said)) as raised:
        read_job(write(tmp_path, "x.txt", b"x", job))
    assert "line" not in str(raised.value)


def test_a_format_that_is_not_read(tmp_path):
    """Setting `format` would not help with a spreadsheet: the message says what would."""
    job = "entity: A\nperiod: P\nreport: risk-brief\nsources: [{name: a, path: x.xlsx}]\n"
    with pytest.raises(SourceUnusable, match=r"x\.xlsx is none of \.csv.*export it"):
        read_job(write(tmp_path, "x.xlsx", b"PK", job))


def test_a_name_that_a_prompt_does_not_know():
    """Those that it knows are listed."""
    with pytest.raises(PromptUnusable, match="'materials' is undefined; a prompt knows material, rules"):
        fill("{{ materials }}", {"material": "x", "rules": "y"}, section="s")
