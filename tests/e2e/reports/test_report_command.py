"""`pelton report` as a user runs it: everything started for it, documents in a folder, clear errors."""

import asyncio
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import orjson
import pytest

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.reports import ReportSettings
from pelton.producers.reports import ReportClient, read_job
from pelton.producers.reports.assembly.pdf import find_browser
from pelton.producers.reports.service.topics import ensure_topics

JOB = """\
id: small
entity: Acme
period: year 2019
sources:
  - {name: table, path: table.csv}
sections:
  - {id: one, title: One, figures: checked, chart: true, prompt: "{{ material }} Write."}
  - {id: two, title: Two, figures: "off", needs: [one], prompt: "{% for s in sections %}{{ s.text }}{% endfor %}"}
formats: [html, markdown, json, pdf]
"""


def run(*arguments: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pelton", *arguments],
        cwd=cwd,
        env={**os.environ, "PELTON_ENGINE__KIND": "simulated", **settings},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def write_job(folder: Path, text: str = JOB) -> None:
    (folder / "job.yaml").write_text(text)
    (folder / "table.csv").write_text("item,2019,2018\nSales,1200,1000\nCosts,700,650\n")


def test_a_report_on_this_machine(tmp_path):
    """With --local nothing has to run beforehand, nothing is left running, and the documents are written."""
    write_job(tmp_path)
    done = run("report", "job.yaml", "--out", "out", "--local", "--timeout", "150", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "of 2: Two" in done.stderr
    written = [Path(line).name for line in done.stdout.split()]
    assert written[:3] == ["small.html", "small.md", "small.json"]
    report = orjson.loads((tmp_path / "out" / "small.json").read_bytes())
    assert [section["id"] for section in report["sections"]] == ["one", "two"]
    page = (tmp_path / "out" / "small.html").read_text()
    assert "<svg" in page
    assert "<script" not in page
    if find_browser() is not None:
        assert (tmp_path / "out" / "small.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (JOB.replace("period", "perio"), "line 3, perio"),
        (JOB.replace("table.csv", "missing.csv"), "'table'"),
        (JOB.replace("needs: [one]", "needs: [two]"), "circle"),
    ],
)
def test_a_bad_job_ends_at_once(tmp_path, text, said):
    """A job that cannot be used is refused before anything is started, with one line and exit code 2."""
    write_job(tmp_path, text)
    done = run("report", "job.yaml", "--out", "out", "--local", cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_list_status_and_cancel(kafka_bootstrap, tmp_path):
    """A submitted job is listed as queued, an unknown one is said to be unknown, a cancel is taken."""
    name = uuid.uuid4().hex[:8]
    topics = ("jobs", "results", "status", "sections", "replies", "cancels")
    reports: Any = {f"{topic}_topic": f"reports-{topic}-{name}" for topic in topics}
    settings = ReportSettings(partitions=2, **reports)
    environment = {
        "PELTON_KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap,
        **{f"PELTON_REPORTS__{field.upper()}": value for field, value in reports.items()},
    }
    write_job(tmp_path)

    async def submit() -> None:
        kafka = KafkaSettings(bootstrap_servers=kafka_bootstrap)
        await ensure_topics(kafka, settings)
        async with ReportClient(kafka, settings) as client:
            await client.submit(read_job(tmp_path / "job.yaml"))

    asyncio.run(submit())
    listed = run("reports", "list", "--json", cwd=tmp_path, **environment)
    assert [(job["id"], job["state"]) for job in orjson.loads(listed.stdout)] == [("small", "queued")]
    assert "Acme" in run("reports", "list", cwd=tmp_path, **environment).stdout
    assert "state: queued" in run("reports", "status", "small", cwd=tmp_path, **environment).stdout
    unknown = run("reports", "status", "other", cwd=tmp_path, **environment)
    assert (unknown.returncode, "'other'" in unknown.stderr) == (1, True)
    assert "being cancelled" in run("reports", "cancel", "small", cwd=tmp_path, **environment).stdout
    unknown = run("reports", "cancel", "other", cwd=tmp_path, **environment)
    assert (unknown.returncode, "'other'" in unknown.stderr) == (1, True)


def test_the_schema_is_published(tmp_path):
    """`pelton reports schema` prints the JSON Schema of job files."""
    schema = orjson.loads(run("reports", "schema", cwd=tmp_path).stdout)
    assert {"entity", "period", "sources"} <= set(schema["required"])
