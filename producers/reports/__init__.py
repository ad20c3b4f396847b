"""Financial reports as asynchronous jobs: sections over sources, figures by reference, and all state in Kafka.

    job = read_job(Path("job.yaml"))
    async with ReportClient(settings.kafka, settings.reports) as client:
        report = await client.run(job)
    write_outputs(report, Path("out"))

`figures` is pure logic; `spec`, `sources` and `planning` make requests of a job; `service` runs jobs; `assembly` makes
documents; `web` shows them.
"""

from pelton.producers.reports.assembly.outputs import write_outputs
from pelton.producers.reports.assembly.report import JobState, Report
from pelton.producers.reports.client import ReportClient
from pelton.producers.reports.errors import JobInvalid, PromptUnusable, ReportError, SourceUnusable
from pelton.producers.reports.spec.reading import read_job

__all__ = [
    "JobInvalid",
    "JobState",
    "PromptUnusable",
    "Report",
    "ReportClient",
    "ReportError",
    "SourceUnusable",
    "read_job",
    "write_outputs",
]
