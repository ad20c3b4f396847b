"""The HTML page: one file, consistent, and readable without a script."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from pelton.producers.reports.assembly.charts import bar_chart
from pelton.producers.reports.assembly.html import to_page
from pelton.producers.reports.assembly.markdown import to_markdown
from pelton.producers.reports.assembly.outputs import write_outputs
from pelton.producers.reports.spec.model import FigureMode, OutputFormat

TABLE = '"in millions of dollars",2019,2018\nSales,"1,200","1,000"\nCosts,(700),(650)\n'


class Page(HTMLParser):
    """Ids, links to them, and the levels of headings."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.levels: list[int] = []

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        self.ids += [names["id"]] if "id" in names else []
        self.targets += [names["href"][1:]] if names.get("href", "").startswith("#") else []
        self.targets += [names[name] for name in ("popovertarget", "aria-labelledby") if name in names]
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))


@pytest.fixture
def report(shore, make_job, text_reply):
    """One section by reference with a chart, and one that was checked and has an unsupported number."""
    job = make_job(2, table=TABLE, max_unsupported=5)
    by_reference = job.sections[0].model_copy(update={"figures": FigureMode.REFERENCE, "chart": True})
    checked = job.sections[1].model_copy(update={"figures": FigureMode.CHECKED})
    shore.submit(job.model_copy(update={"sections": (by_reference, checked)}))
    (first,) = shore.commit()
    shore.answer(first, text_reply("Sales were [[T1.r2.c2]] in [[T1.c2]], a change of [[pct T1.r2.c2 T1.r2.c3]]."))
    (second,) = shore.commit()
    shore.answer(second, text_reply("Sales were $1,200 million in 2019, and 777 people came.\n\n- one\n- two"))
    shore.commit()
    return shore.reports[0]


def test_links_lead_somewhere(report):
    """Every link, button and label names an element of the page, and no id is there twice."""
    page = Page()
    page.feed(to_page(report))
    assert set(page.targets) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert page.levels[0] == 1
    assert all(after - before <= 1 for before, after in zip(page.levels, page.levels[1:], strict=False))


def test_the_policy_fits_the_style(report):
    """The policy allows the page's own style sheet by its digest, and nothing else."""
    page = to_page(report)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert f"sha256-{digest}" in policy
    assert "script" not in policy
    assert " style=" not in page


def test_figures_say_where_they_come_from(report):
    """Each figure's note has label, period, formula and source; an unsupported number says so."""
    page = to_page(report)
    assert re.search(r'<button[^>]*popovertarget="f1-0">\$1,200 million</button>', page)
    assert "20.0%" in page
    assert re.search(r'class="mark unsupported"[^>]*>777<', page)
    assert re.search(r'class="mark (supported|derived)"[^>]*>\$1,200 million<', page)
    assert "No source found" in page
    assert 'id="cell-table-1-1-1"' in page


def test_markdown_has_the_figures_too(report):
    text = to_markdown(report)
    assert "| $1,200 million | Sales, 2019 |" in text
    assert "- 777:" in text


def test_outputs_are_named_after_the_job(report, tmp_path):
    """What was asked for is written, in that order."""
    asked = report.model_copy(update={"formats": (OutputFormat.JSON, OutputFormat.HTML, OutputFormat.JSON)})
    assert [path.name for path in write_outputs(asked, tmp_path / "new" / "folder")] == ["job.json", "job.html"]


def test_a_chart_draws_what_is_negative_to_the_left_of_zero():
    """A loss is not drawn as if it were a profit, and the chart says what its numbers count."""
    rows = [["in millions of dollars", "2019"], ["Sales", "12"], ["Costs", "(7)"]]
    chart = str(bar_chart(rows, "Results"))
    (zero,) = {float(x) for x in re.findall(r'class="zero" x1="([\d.]+)"', chart)}
    sales, costs = [
        (float(x), float(width))
        for x, width in re.findall(r'class="s0" x="([\d.]+)" y="\d+" width="([\d.]+)"', chart)[1:]
    ]
    assert sales[0] == zero
    assert costs[0] + costs[1] == pytest.approx(zero, abs=0.2)
    assert "USD million" in chart


def test_a_chart_compares_like_with_like():
    """Only numbers that count the same are drawn; a table with one of them has no chart."""
    chart = bar_chart([["", "2019"], ["Sales", "$12"], ["Margin", "50%"], ["Costs", "$7"]], "<b>Results</b>") or ""
    assert chart.count('class="s0"') == 3
    assert "<b>" not in chart
    assert "Margin" not in chart
    assert bar_chart([["", "2019"], ["Sales", "12"]], "") is None
    assert bar_chart([["a", "b"], ["c", "d"]], "") is None
