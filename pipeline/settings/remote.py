"""Settings of endpoints that speak OpenAI's API, for `engine.kind = "openai"`."""

from typing import Self
from urllib.parse import urlsplit

from pydantic import FilePath, SecretStr, field_validator, model_validator

from pelton.pipeline.settings.section import Positive, Seconds, Section, Strings


class RemoteSettings(Section):
    """The endpoints, who calls them, and how hard."""

    endpoints: Strings = ()
    """Base URLs, up to and with `/v1`. Requests go to the one with the most free places."""
    model: str | None = None
    """The name of the model in what is sent; unset, the name that requests call it by (`model.served_name`)."""
    api_key: SecretStr | None = None
    """Sent as `Authorization: Bearer`. Better given as the variable `PELTON_ENGINE__REMOTE__API_KEY`."""
    api_key_file: FilePath | None = None
    """The key's file, in place of `api_key`; read when the worker starts."""
    min_concurrency: Positive = 1
    """Requests that an endpoint is given at once, however often it says that this is too much."""
    max_concurrency: Positive = 64
    """The most requests that an endpoint is given at once. How many it is in between is found out."""
    connect_timeout_s: Seconds = 5.0
    """How long a connection may take to be made."""
    request_timeout_s: Seconds = 600.0
    """How long an endpoint may take for an answer; after that the attempt has failed."""
    patience_s: Seconds = 600.0
    """How long a request waits for an endpoint that takes it, while all are away or say that they are busy; after that
    the attempt has failed."""
    max_answer_bytes: Positive = 16_777_216
    """A longer answer is not read to its end."""
    context_tokens: Positive | None = None
    """Prompt and answer of one request, by estimate: histories of sessions are cut to it, and what is longer without
    one is refused. Unset: no bound but `worker.max_waiting_tokens`."""

    @field_validator("endpoints")
    @classmethod
    def _are_urls(cls, endpoints: tuple[str, ...]) -> tuple[str, ...]:
        for endpoint in endpoints:
            if not _is_base_url(endpoint):
                raise ValueError("each is a URL such as http://127.0.0.1:8000/v1, without user, query or fragment")
        if len(set(endpoints)) < len(endpoints):
            raise ValueError("each is named once")
        return tuple(endpoint.rstrip("/") for endpoint in endpoints)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.min_concurrency > self.max_concurrency:
            raise ValueError("min_concurrency must not be above max_concurrency")
        if self.api_key is not None and self.api_key_file is not None:
            raise ValueError("api_key and api_key_file are both set: leave one out")
        return self


def _is_base_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and parts.port != 0
            and "@" not in parts.netloc
            and not (parts.query or parts.fragment)
        )
    except ValueError:
        return False
