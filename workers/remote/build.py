"""From the settings to an engine that asks endpoints."""

from collections.abc import Callable

from pelton.pipeline.settings.remote import RemoteSettings
from pelton.workers.remote.caller import Caller
from pelton.workers.remote.concurrency import AdaptiveLimit
from pelton.workers.remote.endpoint import Endpoint
from pelton.workers.remote.engine import RemoteEngine
from pelton.workers.remote.pool import EndpointPool
from pelton.workers.remote.sending import Sending
from pelton.workers.remote.tokens import TokenEstimate


def remote_engine(settings: RemoteSettings, estimate: TokenEstimate) -> RemoteEngine:
    """Raises OSError where the key's file cannot be read."""
    key = api_key(settings)
    headers = {} if key is None else {"authorization": f"Bearer {key}"}

    async def sending(on_room: Callable[[], None]) -> Sending:
        caller = Caller(
            headers,
            connect_s=settings.connect_timeout_s,
            answer_s=settings.request_timeout_s,
            most_bytes=settings.max_answer_bytes,
        )
        least, most = settings.min_concurrency, settings.max_concurrency
        endpoints = [Endpoint(url, AdaptiveLimit(least, most), least) for url in settings.endpoints]
        return Sending(EndpointPool(endpoints, caller, on_room), caller, estimate, settings.patience_s)

    return RemoteEngine(sending, settings.context_tokens)


def api_key(settings: RemoteSettings) -> str | None:
    """The key that calls carry, from the settings or its file."""
    if settings.api_key is not None:
        return settings.api_key.get_secret_value()
    return settings.api_key_file.read_text("utf-8").strip() if settings.api_key_file is not None else None
