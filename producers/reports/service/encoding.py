"""The outbox as Kafka records."""

from collections.abc import Iterator

import orjson

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.reports import ReportSettings
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.records import OutgoingRecord
from pelton.producers.kafka.request_sender import ReplyAddress, request_headers
from pelton.producers.reports.service.records import JobResult, Outbox, SectionRequest


class OutboxEncoder:
    """For one partition: all but requests and cancels go to the partition of the same number."""

    def __init__(self, kafka: KafkaSettings, reports: ReportSettings, partition: int, request_partitions: int) -> None:
        self._reports = reports
        self._requests_topic = kafka.request_topics[0]
        self._cancels_topic = kafka.cancels_topic
        self._partition = partition
        self._request_partitions = request_partitions

    def requests(self, outbox: Outbox) -> list[OutgoingRecord]:
        """In their order."""
        return [self._request(request) for request in outbox.requests]

    def others(self, outbox: Outbox) -> Iterator[OutgoingRecord]:
        """All else that is in it."""
        reports, partition = self._reports, self._partition
        for tenant, correlation_id in outbox.cancels:
            headers = [(contract.CORRELATION_ID, correlation_id.encode())]
            if tenant:
                headers.append((contract.TENANT, tenant.encode()))
            yield OutgoingRecord(self._cancels_topic, b"", correlation_id.encode(), headers)
        for fingerprint, state in outbox.sections.items():
            yield OutgoingRecord(reports.sections_topic, state.encode(), fingerprint.encode(), (), partition)
        for job_id, status in outbox.status.items():
            yield OutgoingRecord(reports.status_topic, status.encode(), job_id.encode(), (), partition)
        for result in outbox.results:
            yield self._result(result)

    def _request(self, request: SectionRequest) -> OutgoingRecord:
        """Spread over the request topic by fingerprint, so that all workers have a part."""
        address = ReplyAddress(self._reports.replies_topic, self._partition)
        correlation_id = request.correlation_id.encode()
        headers = request_headers(
            correlation_id, address, tenant=request.tenant or None, deadline_ms=request.deadline_ms
        )
        partition = int(request.correlation_id[:8], 16) % self._request_partitions
        return OutgoingRecord(self._requests_topic, orjson.dumps(request.body), None, headers, partition)

    def _result(self, result: JobResult) -> OutgoingRecord:
        headers = [(contract.CORRELATION_ID, result.correlation_id)]
        topic, key = self._reports.results_topic, result.job_id.encode()
        return OutgoingRecord(topic, result.value, key, headers, self._partition)
