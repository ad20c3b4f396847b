"""What a reply tells."""

import orjson
from aiokafka import ConsumerRecord


def outcome(reply: ConsumerRecord) -> str | None:
    """Where the answer came from; None where the reply does not say."""
    told = dict(reply.headers).get("pelton-cache")
    return told and told.decode()


def content(reply: ConsumerRecord) -> str:
    """The answer's text."""
    text: str = orjson.loads(reply.value)["choices"][0]["message"]["content"]
    return text


def code(reply: ConsumerRecord) -> str | None:
    """The error's code; None for an answer."""
    told: str | None = orjson.loads(reply.value).get("error", {}).get("code")
    return told


def id_of(reply: ConsumerRecord) -> str:
    """The correlation id."""
    return str(dict(reply.headers)["kafka_correlationId"].decode())
