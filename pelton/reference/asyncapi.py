"""The topics as an AsyncAPI 3 document, for those who generate clients: from the models and names of the wire."""

from collections.abc import Mapping
from importlib import metadata
from typing import Any

import yaml
from pydantic import BaseModel

from pelton.pipeline.error_codes import ERROR_CODES
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.chat import ChatCompletion, ChatRequest
from pelton.pipeline.wire.contract import CacheOutcome, CacheUse, Lane, Route, TruncationPolicy
from pelton.pipeline.wire.headers import MAX_CORRELATION_ID_BYTES
from pelton.pipeline.wire.routed import NAME, UNIT_BYTES

_JSON = "application/json"
_Part = dict[str, Any]
_MS = r"^[0-9]+\.[0-9]$"


def document() -> str:
    """As YAML."""
    kafka, schemas = KafkaSettings(), _schemas()
    whole = {
        "asyncapi": "3.0.0",
        "info": _info(),
        "defaultContentType": _JSON,
        "servers": {"local": {"host": kafka.bootstrap_servers, "protocol": "kafka"}},
        "channels": _channels(kafka),
        "operations": _operations(kafka),
        "components": {"messages": _messages(), "schemas": schemas},
    }
    return "# Written by `make reference` from pipeline/wire: edit that, not this.\n" + yaml.safe_dump(
        whole, sort_keys=False, width=120, allow_unicode=True
    )


def _info() -> _Part:
    return {
        "title": "Pelton",
        "version": metadata.version("pelton"),
        "description": "One committed reply for each chat-completions request. Replies are read with read_committed.",
        "license": {"name": "Apache-2.0"},
    }


def _channels(kafka: KafkaSettings) -> _Part:
    """By their default names; settings may give others."""
    (requests,) = kafka.request_topics
    topics = {
        "requests": (requests, "Requests to the workers.", "request"),
        "replies": (kafka.reply_topic, "One reply for each request, in the order in which they are finished.", "reply"),
        "deadLetters": (
            contract.dead_letter_topic(requests),
            "Requests that could not be answered, as they were, and why.",
            "deadLetter",
        ),
        "cancels": (kafka.cancels_topic, "Takes requests back, by their sender's correlation id.", "cancel"),
    }
    return {
        name: {
            "address": topic,
            "description": description,
            "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        }
        for name, (topic, description, message) in topics.items()
    }


def _operations(kafka: KafkaSettings) -> _Part:
    """As the workers see it: they receive what clients send."""
    group = {"kafka": {"groupId": {"type": "string", "enum": [kafka.group_id]}}}
    return {
        "answer": {
            "action": "receive",
            "channel": {"$ref": "#/channels/requests"},
            "summary": "A client sends a request and has one reply.",
            "bindings": group,
            "reply": {
                "address": {"location": f"$message.header#/{contract.REPLY_TOPIC}"},
                "channel": {"$ref": "#/channels/replies"},
            },
        },
        "setAside": {"action": "send", "channel": {"$ref": "#/channels/deadLetters"}},
        "takeBack": {"action": "receive", "channel": {"$ref": "#/channels/cancels"}},
    }


def _messages() -> _Part:
    correlation = {"correlationId": {"location": f"$message.header#/{contract.CORRELATION_ID}"}}
    either = {"oneOf": [_ref(ChatCompletion.__name__), _ref("Error")]}
    return {
        "request": _message("A chat-completions body.", _ref(ChatRequest.__name__), _REQUEST) | correlation,
        "reply": _message("A completion, or an error.", either, _REPLY) | correlation,
        "deadLetter": _message("The request's own bytes and headers, and these.", {}, _DEAD_LETTER),
        "cancel": _message("No value: the headers say whose request.", {"type": "null"}, _CANCEL),
    }


def _message(summary: str, payload: _Part, headers: Mapping[str, _Part]) -> _Part:
    return {
        "summary": summary,
        "contentType": _JSON,
        "headers": {"type": "object", "properties": dict(headers)},
        "payload": payload,
    }


def _text(description: str, **more: Any) -> _Part:
    return {"type": "string", "description": description, **more}


_ID = _text("Bytes of any kind; go back as they are.", maxLength=MAX_CORRELATION_ID_BYTES)
_TENANT = _text("Who asks.", pattern=f"^{contract.TENANT_PATTERN}$")
_SIGNATURE = _text("HMAC-SHA256 in lower-case hexadecimal that proves the tenant.", pattern="^[0-9a-f]{64}$")
_TRACE = {
    contract.TRACEPARENT: _text("W3C trace context; the reply continues it."),
    contract.TRACESTATE: _text("Likewise."),
}
_ROUTED = {
    contract.VARIANT: _text("An experiment and the variant that a router has chosen.", pattern=f"^{NAME}/{NAME}$"),
    contract.ROUTE: _text("Why.", enum=[str(route) for route in Route]),
    contract.UNIT: _text("A hash of what the variant was chosen by.", pattern=f"^[0-9a-f]{{{2 * UNIT_BYTES}}}$"),
}
_REQUEST: dict[str, _Part] = {
    contract.CORRELATION_ID: _ID,
    contract.CORRELATION_ID_ALIAS: _text("Another name for it."),
    contract.REPLY_TOPIC: _text("Where to reply, if the workers allow it."),
    contract.REPLY_PARTITION: _text("Of that topic: four big-endian bytes.", format="binary"),
    contract.TENANT: _TENANT,
    contract.TENANT_SIGNATURE: _SIGNATURE,
    contract.PRIORITY: _text("Who goes first.", enum=[str(lane) for lane in Lane]),
    contract.DEADLINE: _text("Unix milliseconds.", pattern="^[0-9]{1,19}$"),
    contract.CACHE: _text("What the cache may do.", enum=[str(use) for use in CacheUse]),
    contract.SESSION: _text("The conversation; the record's key too."),
    contract.TRUNCATION: _text(
        "What becomes of a prompt that is too long.", enum=[str(policy) for policy in TruncationPolicy]
    ),
    contract.STREAM: _text("true: partial text goes to the stream topic ahead of the reply."),
    **_ROUTED,
    **_TRACE,
}
_REPLY: dict[str, _Part] = {
    contract.CORRELATION_ID: _ID,
    contract.CORRELATION_ID_ALIAS: _text("Where the request had it under that name."),
    contract.SOURCE: _text("The request's topic-partition-offset."),
    contract.MODEL: _text("What answered."),
    contract.WORKER: _text("Where."),
    contract.ATTEMPT: _text("At which attempt.", pattern="^[0-9]+$"),
    contract.TENANT: _TENANT,
    contract.CACHE: _text("Where the answer came from.", enum=[str(outcome) for outcome in CacheOutcome]),
    contract.TRUNCATED: _text("How a prompt that was too long was cut, and by how many tokens."),
    contract.STRUCTURED: _text("How exactly the form was held.", enum=["strict", "coerced", "lenient"]),
    **_ROUTED,
    contract.RETRY_AFTER_MS: _text("Of an error: when to send the request again.", pattern="^[0-9]+$"),
    contract.DEGRADED: _text("What was cut because of the load.", pattern="^max_completion_tokens=[0-9]+$"),
    **{
        name: _text("Milliseconds in this stage.", pattern=_MS)
        for name in (
            contract.QUEUE_MS,
            contract.BATCH_WAIT_MS,
            contract.PREFILL_MS,
            contract.DECODE_MS,
            contract.PUBLISH_MS,
        )
    },
    **_TRACE,
}
_DEAD_LETTER: dict[str, _Part] = {
    "kafka_dlt-original-topic": _text("Where the request was."),
    "kafka_dlt-original-partition": _text("Four big-endian bytes.", format="binary"),
    "kafka_dlt-original-offset": _text("Eight big-endian bytes.", format="binary"),
    "kafka_dlt-original-timestamp": _text("Unix milliseconds as eight big-endian bytes.", format="binary"),
    "kafka_dlt-original-timestamp-type": _text("What kind of time that is."),
    "kafka_dlt-original-consumer-group": _text("The workers' group."),
    "kafka_dlt-exception-fqcn": _text("The error's class."),
    "kafka_dlt-exception-message": _text("Its code, a colon, and its message."),
    contract.ATTEMPT: _text("How many attempts there were.", pattern="^[0-9]+$"),
}
_CANCEL: dict[str, _Part] = {
    contract.CORRELATION_ID: _ID,
    contract.TENANT: _TENANT,
    contract.TENANT_SIGNATURE: _SIGNATURE,
}


def _schemas() -> _Part:
    """Every model and what it consists of, once each."""
    found: _Part = {}
    for model in (ChatRequest, ChatCompletion):
        schema = _schema(model)
        found |= schema.pop("$defs", {})
        found[model.__name__] = schema
    return {**dict(sorted(found.items())), "Error": _error()}


def _schema(model: type[BaseModel]) -> _Part:
    schema: _Part = _without_discriminators(model.model_json_schema(ref_template="#/components/schemas/{model}"))
    return schema


def _without_discriminators(schema: Any) -> Any:
    """AsyncAPI has another kind of them than OpenAPI; `oneOf` says enough."""
    if isinstance(schema, dict):
        is_one = isinstance(schema.get("discriminator"), dict)
        return {
            name: _without_discriminators(part)
            for name, part in schema.items()
            if not (is_one and name == "discriminator")
        }
    return [_without_discriminators(part) for part in schema] if isinstance(schema, list) else schema


def _error() -> _Part:
    detail = {
        "type": "object",
        "required": ["message", "type", "code"],
        "properties": {
            "message": {"type": "string"},
            "type": {"type": "string"},
            "param": {"type": ["string", "null"]},
            "code": {"type": "string", "enum": sorted(ERROR_CODES)},
        },
    }
    return {"type": "object", "required": ["error"], "properties": {"error": detail}}


def _ref(name: str) -> _Part:
    return {"$ref": f"#/components/schemas/{name}"}
