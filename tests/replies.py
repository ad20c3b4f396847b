"""What a reply says, as it lies on its topic."""

import orjson
from aiokafka import ConsumerRecord


def outcome(reply: ConsumerRecord) -> str | None:
    """Where the answer came from; None where the reply does not say."""
    found = dict(reply.headers).get("pelton-cache")
    return found and found.decode()


def content(reply: ConsumerRecord) -> str:
    """The answer's text."""
    text: str = orjson.loads(reply.value)["choices"][0]["message"]["content"]
    return text


def error_code(reply: ConsumerRecord) -> str | None:
    """The error's code; None for an answer."""
    found: str | None = orjson.loads(reply.value).get("error", {}).get("code")
    return found


def correlation_id(reply: ConsumerRecord) -> str:
    """The correlation id."""
    return str(dict(reply.headers)["kafka_correlationId"].decode())
