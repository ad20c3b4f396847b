"""Settings of the HTTP face."""

from typing import Annotated

from pydantic import Field, FilePath

from pelton.pipeline.settings.section import Positive, Seconds, Section, Topic


class ServeSettings(Section):
    """The HTTP face: where it listens, who may call, and what it takes."""

    host: str = "127.0.0.1"
    """The address to listen on."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    """0 takes any free port."""
    keys_file: FilePath | None = None
    """Lines of a tenant and the SHA-256 of its API key, in hex. Unset: nobody needs a key, and all are one tenant."""
    storage: str = "pelton-files"
    """Where uploaded files and results lie: a folder, or any URL that fsspec opens (`s3://bucket/prefix`). Servers
    that share work share it."""
    batches_topic: Topic = "inference.batches"
    """Compacted; holds what every batch is and how far it has come."""
    request_timeout_s: Seconds = 600.0
    """How long a chat completion may take before its client gets an error, and its request is cancelled."""
    max_body_bytes: Positive = 1_048_576
    """A longer body of a chat completion is refused."""
    max_file_bytes: Positive = 209_715_200
    """A longer uploaded file is refused."""
    max_batch_requests: Positive = 1_000_000
    """A batch file with more requests is refused."""
    max_batches_running: Positive = 8
    """Batches that one server works on at once; the others wait."""
    max_in_flight: Positive = 1_024
    """Requests of one batch that are sent and not answered."""
