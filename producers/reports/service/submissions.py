"""A record of the jobs topic read: whose it is, and the job, or why it cannot be used."""

from typing import Any

import orjson
from pydantic import ValidationError

from pelton.pipeline.wire import contract
from pelton.producers.reports.errors import JobInvalid, ReportError
from pelton.producers.reports.service.job_run import Submission
from pelton.producers.reports.spec.model import JobSpec

_MAX_ID_BYTES = 200


def read_submission(record: Any) -> tuple[Submission, JobSpec | ReportError]:
    """Never raises: a record that is no job is answered with an error too."""
    headers = {name: value for name, value in record.headers if value is not None}
    run = f"{record.topic}-{record.partition}-{record.offset}"
    correlation_id = headers.get(contract.CORRELATION_ID) or headers.get(contract.CORRELATION_ID_ALIAS)
    job = _job(record.value)
    key = (record.key or b"")[:_MAX_ID_BYTES].decode(errors="replace")
    submission = Submission(
        offset=record.offset,
        job_id=job.identity if isinstance(job, JobSpec) else key or run,
        run=run,
        correlation_id=correlation_id or run.encode(),
        created_ms=record.timestamp,
        size=len(record.value or b""),
        tenant=(headers.get(contract.TENANT) or b"").decode(errors="replace"),
    )
    return submission, job


def _job(value: bytes | None) -> JobSpec | ReportError:
    try:
        return JobSpec.model_validate(orjson.loads(value or b""))
    except orjson.JSONDecodeError as error:
        return JobInvalid(f"The job is not JSON: {error}.")
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'the job'}: {fault['msg']}" for fault in error.errors()[:20]]
        return JobInvalid("The job cannot be used: " + "; ".join(faults))
