"""Turns a Kafka topic into finished LLM work. What other programs import:

    from pelton import InferenceClient, load_settings

Each name is loaded when it is asked for, so that `import pelton` is quick and needs no Kafka client.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pelton.pipeline.settings.loading import Settings, load_settings
    from pelton.producers import BlockingClient, InferenceClient, Reply, ReplyError, ReplyTimeout, RequestItem

__all__ = [
    "BlockingClient",
    "InferenceClient",
    "Reply",
    "ReplyError",
    "ReplyTimeout",
    "RequestItem",
    "Settings",
    "load_settings",
]


def __getattr__(name: str) -> Any:
    if name in ("Settings", "load_settings"):
        from pelton.pipeline.settings import loading  # noqa: PLC0415 (the point of this function)

        return getattr(loading, name)
    if name in __all__:
        from pelton import producers  # noqa: PLC0415 (likewise)

        return getattr(producers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
