"""What publishes requests and awaits their replies: the client, and batches from files."""

from pelton.producers.client import InferenceClient
from pelton.producers.errors import ReplyError, ReplyTimeout
from pelton.producers.replies import Reply

__all__ = ["InferenceClient", "Reply", "ReplyError", "ReplyTimeout"]
