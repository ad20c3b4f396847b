"""Settings of report jobs: topics, limits, and where a user's own templates are."""

from pathlib import Path

from pydantic import DirectoryPath

from pelton.pipeline.settings.section import Positive, Seconds, Section, Topic
from pelton.pipeline.wire import contract


class ReportSettings(Section):
    """The job service, and those who ask it.

    All topics have the same number of partitions: what belongs to a job lies in the partition of the same number.
    """

    group_id: str = "pelton-reports"
    """The job services' consumer group."""
    jobs_topic: Topic = contract.REPORT_JOBS_TOPIC
    """Where jobs are sent."""
    results_topic: Topic = contract.REPORT_RESULTS_TOPIC
    """Where finished reports go."""
    status_topic: Topic = contract.REPORT_STATUS_TOPIC
    """Compacted: how each job stands."""
    sections_topic: Topic = contract.REPORT_SECTIONS_TOPIC
    """Compacted: which sections were sent, and the texts of those that are finished."""
    replies_topic: Topic = contract.REPORT_REPLIES_TOPIC
    """Workers answer sections here; it must be among their `kafka.reply_topics_allowed`."""
    cancels_topic: Topic = contract.REPORT_CANCELS_TOPIC
    """Where jobs are taken back."""
    partitions: Positive = 12
    """Of each of these topics."""
    keep_days: Positive = 7
    """How long results, status and section texts are kept."""
    max_job_bytes: Positive = 8_000_000
    """The largest job record, sources included."""
    max_active_jobs: Positive = 32
    """Jobs under way in one partition; more wait in Kafka."""
    max_active_bytes: Positive = 64_000_000
    """Likewise, counted in bytes of their sources."""
    max_stored_bytes: Positive = 64_000_000
    """Section texts that one partition remembers for jobs that are asked for again."""
    section_timeout_s: Seconds = 3_600.0
    """A section that is not answered by then is sent again, or fails."""
    ready_file: Path | None = None
    """Exists while the service is a member of its group: for a container's health check."""
    templates: DirectoryPath | None = None
    """A folder with report templates of your own."""

    def topics(self) -> tuple[str, ...]:
        """Every topic of the service."""
        own = (self.jobs_topic, self.results_topic, self.status_topic, self.sections_topic)
        return (*own, self.replies_topic, self.cancels_topic)
