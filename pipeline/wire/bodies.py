"""What the values of records are: chat bodies and completions, or whatever a map makes of others.

The worker's core knows chat requests and completions only; this is its border on both sides.
"""

from typing import Protocol

from pelton.pipeline.wire.chat import ChatRequest
from pelton.pipeline.wire.decoding import decode_request
from pelton.pipeline.wire.record_forms.table import SchemaTable
from pelton.pipeline.wire.records import RequestRecord


class BodyCodec(Protocol):
    """Called from threads; must be safe to share between them."""

    @property
    def identity(self) -> bytes:
        """Differs wherever the same record may get another reply value for the same answer."""

    @property
    def keeps_key(self) -> bool:
        """Whether a reply has its record's key; else it is the correlation id."""

    @property
    def schemas(self) -> SchemaTable | None:
        """What must be known before a record that names a schema is decoded; None: records name none."""

    def decode(self, record: RequestRecord, *, max_bytes: int) -> ChatRequest:
        """What a record asks for. Raises `RequestError`."""

    def reply(self, record: RequestRecord, completion: bytes) -> bytes:
        """The reply value that carries a chat completion. Raises `PeltonError` for an answer that it cannot carry."""


class ChatBodies:
    """The values are OpenAI's."""

    identity = b""
    keeps_key = False
    schemas = None

    def decode(self, record: RequestRecord, *, max_bytes: int) -> ChatRequest:
        return decode_request(record.value, max_bytes=max_bytes)

    def reply(self, record: RequestRecord, completion: bytes) -> bytes:  # noqa: ARG002  # it is all in the completion
        return completion


CHAT_BODIES = ChatBodies()
