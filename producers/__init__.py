"""What publishes requests and awaits their replies: the client, and batches from files."""

from producers.client import InferenceClient
from producers.errors import ReplyError, ReplyTimeout
from producers.replies import Reply

__all__ = ["InferenceClient", "Reply", "ReplyError", "ReplyTimeout"]
