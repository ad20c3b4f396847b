"""The JSON Schema of job files."""

from typing import Any

from pelton.producers.reports.spec.model import JobSpec


def job_schema() -> dict[str, Any]:
    """Draft 2020-12, as pydantic writes it."""
    schema = JobSpec.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Pelton report job", **schema}
