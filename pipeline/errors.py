"""Everything that can go wrong with a request, each with the code its sender sees.

    PeltonError
    ├── RequestError                 the sender's to mend; dead-lettered
    │   ├── UnreadableRecord         unreadable_record
    │   ├── EmptyRecord              empty_record
    │   ├── NotUtf8                  not_utf8
    │   ├── InvalidJson              invalid_json
    │   ├── NotAnObject              not_an_object
    │   ├── UnknownSchema            unknown_schema
    │   ├── SchemaMismatch           schema_mismatch
    │   ├── UnknownParameter         unknown_parameter
    │   ├── UnsupportedParameter     unsupported_parameter
    │   ├── MissingParameter         missing_required_parameter
    │   ├── InvalidValue             invalid_value
    │   ├── InvalidHeader            invalid_header
    │   ├── UnsupportedHeader        unsupported_header
    │   ├── ReplyTopicNotAllowed     reply_topic_not_allowed
    │   ├── TenantNotProven          tenant_not_proven
    │   ├── ModelNotFound            model_not_found
    │   ├── ContextLengthExceeded    context_length_exceeded
    │   ├── EndpointRefused          endpoint_refused
    │   └── RequestTooLarge          request_too_large
    └── ExecutionError               ours, or time's
        ├── DeadlineExceeded         deadline_exceeded      (not dead-lettered: nothing to mend)
        ├── Cancelled                cancelled              (not dead-lettered: it was asked for)
        ├── SessionUnavailable       session_unavailable    (not dead-lettered: its sender sends it again)
        ├── RateLimited              rate_limited           (not dead-lettered: its sender sends it again)
        ├── Overloaded               overloaded             (not dead-lettered: its sender sends it again)
        ├── SchemaUnavailable        schema_unavailable
        ├── OutOfMemory              out_of_memory
        ├── InvalidOutput            invalid_output
        ├── ReplyTooLarge            reply_too_large
        ├── UnfitAnswer              unfit_answer
        ├── AnswerCut                answer_cut
        ├── PoisonRecord             poisoned
        ├── EngineError              engine_error
        └── InternalError            internal_error

Codes are part of the wire contract: add, never rename.
"""

from typing import Any, ClassVar

MAX_MESSAGE_CHARS = 1_000
MAX_PARAM_CHARS = 200
"""Errors quote what the sender wrote; the reply must fit its topic however much that was."""


class PeltonError(Exception):
    """A request's end without an answer. `param` names the field or header at fault, in the sender's terms."""

    code: ClassVar[str]
    type: ClassVar[str]
    status: ClassVar[int]
    dead_letter: ClassVar[bool] = True

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float | None = None, for_load: bool = False
    ) -> None:
        """`retry_after_s`: in so many seconds the same request may fare better. `for_load`: it was refused at once,
        because of what else is waiting.
        """
        self.retry_after_s = retry_after_s
        self.for_load = for_load
        self.message = _shortened(message, MAX_MESSAGE_CHARS)
        self.param = None if param is None else _shortened(param, MAX_PARAM_CHARS)
        super().__init__(self.message)

    def body(self) -> dict[str, Any]:
        """The reply value, in OpenAI's error shape."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class RequestError(PeltonError):
    type = "invalid_request_error"
    status = 400


class UnreadableRecord(RequestError):
    """The record, or the batch it came in, is not what Kafka's format says; its dead letter holds the raw bytes."""

    code = "unreadable_record"


class EmptyRecord(RequestError):
    """The record has no value."""

    code = "empty_record"


class NotUtf8(RequestError):
    """The record's value is not UTF-8 text."""

    code = "not_utf8"


class InvalidJson(RequestError):
    """The record's value is not JSON."""

    code = "invalid_json"


class NotAnObject(RequestError):
    """The record's value is JSON, but not an object."""

    code = "not_an_object"


class UnknownSchema(RequestError):
    """The record names a schema that the registry does not have, or that cannot be used."""

    code = "unknown_schema"


class SchemaMismatch(RequestError):
    """The record is not what its schema says, or its schema has no place for the answer."""

    code = "schema_mismatch"


class UnknownParameter(RequestError):
    """The body has a field that the chat-completions interface does not know."""

    code = "unknown_parameter"


class UnsupportedParameter(RequestError):
    """The body has a field that Pelton knows and does not support."""

    code = "unsupported_parameter"


class MissingParameter(RequestError):
    """The body lacks a required field."""

    code = "missing_required_parameter"


class InvalidValue(RequestError):
    """A field of the body has a value that is not allowed."""

    code = "invalid_value"


class InvalidHeader(RequestError):
    """A header has a value that cannot be read, or that contradicts another."""

    code = "invalid_header"


class UnsupportedHeader(RequestError):
    """A `pelton-` header that this version or configuration does not support."""

    code = "unsupported_header"


class ReplyTopicNotAllowed(RequestError):
    """The reply topic is not among those in `kafka.reply_topics_allowed`."""

    code = "reply_topic_not_allowed"
    status = 403


class TenantNotProven(RequestError):
    """The request names a tenant and does not show that it comes from there."""

    code = "tenant_not_proven"
    status = 403


class ModelNotFound(RequestError):
    """No worker of this topic serves the model."""

    code = "model_not_found"
    status = 404


class ContextLengthExceeded(RequestError):
    """Prompt and allowed answer do not fit into the model's context or the worker's budgets."""

    code = "context_length_exceeded"


class EndpointRefused(RequestError):
    """The endpoint that answers for this worker refuses the request, for a reason that has no code here."""

    code = "endpoint_refused"


class RequestTooLarge(RequestError):
    """The body is larger than `worker.max_request_bytes` or the topic allows."""

    code = "request_too_large"
    status = 413


class ExecutionError(PeltonError):
    type = "server_error"
    status = 500


class DeadlineExceeded(ExecutionError):
    """The time in `pelton-deadline` has passed, or will have before an answer can be there (`overload.refuse_late`)."""

    code = "deadline_exceeded"
    status = 504
    dead_letter = False


class Cancelled(ExecutionError):
    """The sender took the request back."""

    code = "cancelled"
    status = 499
    dead_letter = False


class SessionUnavailable(ExecutionError):
    """A session's history cannot be read or written for now; it stays as if the request had not been sent.

    The reply asks its sender to send it again. It makes no dead letter: replayed, that would be the same turn once
    more, and behind others that have come since.
    """

    code = "session_unavailable"
    status = 503
    dead_letter = False


class RateLimited(ExecutionError):
    """The tenant has used up its quota for now; the reply says when to send the request again."""

    code = "rate_limited"
    type = "rate_limit_error"
    status = 429
    dead_letter = False


class Overloaded(ExecutionError):
    """More waits than is allowed to (`overload.refuse_above_s`); the reply says when to send the request again."""

    code = "overloaded"
    status = 503
    dead_letter = False


class SchemaUnavailable(ExecutionError):
    """The schema registry works, and fails at the schema of this record; replay it when the registry is mended."""

    code = "schema_unavailable"
    status = 503


class OutOfMemory(ExecutionError):
    """The device had no memory left for the request, also when tried again."""

    code = "out_of_memory"
    status = 503


class InvalidOutput(ExecutionError):
    """The model produced numbers that are none (NaN)."""

    code = "invalid_output"


class ReplyTooLarge(ExecutionError):
    """The answer exceeds what the reply topic accepts."""

    code = "reply_too_large"


class UnfitAnswer(ExecutionError):
    """The answer is not of the form in which the worker's map puts it into the record."""

    code = "unfit_answer"


class AnswerCut(ExecutionError):
    """The answer ended before it was complete, and the worker's map takes complete answers only."""

    code = "answer_cut"


class PoisonRecord(ExecutionError):
    """The request ended the worker that ran it, again and again."""

    code = "poisoned"


class EngineError(ExecutionError):
    """The engine failed on the request, also when it was tried again."""

    code = "engine_error"


class InternalError(ExecutionError):
    """A part of the worker other than the engine failed on this request."""

    code = "internal_error"


def _shortened(text: str, most: int) -> str:
    """Both ends of the text: a message names the fault first and the remedy last."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}…{text[1 - half :]}"
